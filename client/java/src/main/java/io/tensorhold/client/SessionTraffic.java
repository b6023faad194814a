package io.tensorhold.client;

/**
 * Payload bytes of a session so far, without headers and without what was sent again.
 *
 * @param pushed as encoded
 * @param pushedAsF32 what the same elements take as f32
 * @param pulled that came back with steps
 */
public record SessionTraffic(long pushed, long pushedAsF32, long pulled) {}

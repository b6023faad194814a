/**
 * The deterministic core of one shard: commands, apply, memory tier, dedupe. No threads, sockets or
 * clock.
 */
@NullMarked
package io.tensorhold.server.shard;

import org.jspecify.annotations.NullMarked;

/** Tests of shard. */
@NullMarked
package io.tensorhold.server.shard;

import org.jspecify.annotations.NullMarked;

/** One shard's RocksDB: key and value formats, flush, checkpoint. */
@NullMarked
package io.tensorhold.server.store;

import org.jspecify.annotations.NullMarked;

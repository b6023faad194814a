/** Models, parameters, sessions, servers and the placement of shards, as replicated state. */
@NullMarked
package io.tensorhold.server.catalog;

import org.jspecify.annotations.NullMarked;

/** Apache Ratis behind a small interface: groups, state machines, log, snapshots, leadership. */
@NullMarked
package io.tensorhold.server.raft;

import org.jspecify.annotations.NullMarked;

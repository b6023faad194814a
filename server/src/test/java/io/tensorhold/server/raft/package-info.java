/** Tests of replicas and how they come to be. */
@NullMarked
package io.tensorhold.server.raft;

import org.jspecify.annotations.NullMarked;

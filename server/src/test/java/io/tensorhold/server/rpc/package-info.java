/** Tests of the services. */
@NullMarked
package io.tensorhold.server.rpc;

import org.jspecify.annotations.NullMarked;

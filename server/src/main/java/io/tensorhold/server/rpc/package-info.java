/** The gRPC services: validate, admit, route; the only place where errors become statuses. */
@NullMarked
package io.tensorhold.server.rpc;

import org.jspecify.annotations.NullMarked;

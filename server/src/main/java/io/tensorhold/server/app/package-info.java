/** The server process: configuration, wiring, start and stop. */
@NullMarked
package io.tensorhold.server.app;

import org.jspecify.annotations.NullMarked;

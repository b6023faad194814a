/** Tests of app. */
@NullMarked
package io.tensorhold.server.app;

import org.jspecify.annotations.NullMarked;

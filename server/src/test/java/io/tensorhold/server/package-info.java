/** Tests of the whole server. */
@NullMarked
package io.tensorhold.server;

import org.jspecify.annotations.NullMarked;

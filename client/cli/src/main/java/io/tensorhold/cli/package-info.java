/** The {@code tensorhold} command. */
@NullMarked
package io.tensorhold.cli;

import org.jspecify.annotations.NullMarked;

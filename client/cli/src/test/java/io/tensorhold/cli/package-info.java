/** Tests of the whole: real servers, real processes, the SDK and the command. */
@NullMarked
package io.tensorhold.cli;

import org.jspecify.annotations.NullMarked;

/** Tests of training. */
@NullMarked
package io.tensorhold.server.training;

import org.jspecify.annotations.NullMarked;

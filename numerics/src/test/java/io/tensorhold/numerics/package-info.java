/** Tests of dtypes, shapes, codecs, optimizers and kernels. */
@NullMarked
package io.tensorhold.numerics;

import org.jspecify.annotations.NullMarked;

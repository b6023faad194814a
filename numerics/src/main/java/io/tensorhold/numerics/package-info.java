/** Dtypes, shapes, codecs, optimizers and kernels. No I/O and no threads. */
@NullMarked
package io.tensorhold.numerics;

import org.jspecify.annotations.NullMarked;

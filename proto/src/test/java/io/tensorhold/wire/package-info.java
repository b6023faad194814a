/** Tests of the wire. */
@NullMarked
package io.tensorhold.wire;

import org.jspecify.annotations.NullMarked;

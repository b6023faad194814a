/** How blocks travel: marshallers, channel settings and hashing that server and clients share. */
@NullMarked
package io.tensorhold.wire;

import org.jspecify.annotations.NullMarked;

/** What every package of the server stands on: refusals, sizes, off-heap memory. */
@NullMarked
package io.tensorhold.server.base;

import org.jspecify.annotations.NullMarked;

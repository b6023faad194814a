/** Load drivers; the scripts beside them say what they are held against. */
@NullMarked
package io.tensorhold.bench;

import org.jspecify.annotations.NullMarked;

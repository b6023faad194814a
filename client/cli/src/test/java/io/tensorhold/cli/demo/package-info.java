/** Tests of the demo's mathematics. */
@NullMarked
package io.tensorhold.cli.demo;

import org.jspecify.annotations.NullMarked;

/** The demo: three servers, a real BERT, four workers, and a kill -9 in the middle. */
@NullMarked
package io.tensorhold.cli.demo;

import org.jspecify.annotations.NullMarked;

/**
 * The Java SDK: models, pulls and pushes against a cluster whose leaders may change at any moment.
 *
 * <p>Begin with {@link io.tensorhold.client.TensorholdClient#connect(String)}.
 */
@NullMarked
package io.tensorhold.client;

import org.jspecify.annotations.NullMarked;

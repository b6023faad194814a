/** Steps of many workers: batching of pushes and bulk synchronous aggregation. */
@NullMarked
package io.tensorhold.server.training;

import org.jspecify.annotations.NullMarked;

/** Placement control, reports and metrics. */
@NullMarked
package io.tensorhold.server.admin;

import org.jspecify.annotations.NullMarked;

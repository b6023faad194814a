/** Tests of model specifications. */
@org.jspecify.annotations.NullMarked
package io.tensorhold.server.catalog;

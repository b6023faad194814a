/**
 * What a model will need, computed before anything is bought or stored: parameters, bytes by codec,
 * replicas and servers, and the memory of training. Pure values; nothing here prints or connects.
 */
@NullMarked
package io.tensorhold.client.plan;

import org.jspecify.annotations.NullMarked;

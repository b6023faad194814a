package io.tensorhold.server.training;

import io.tensorhold.numerics.BlockSums;
import java.util.List;

/**
 * What the mean gradient of a part adds to the sums over all blocks of its step.
 *
 * @param gradientScale under which LAMB's directions were measured
 * @param blocks in the order of the push
 */
public record StepSums(float gradientScale, List<BlockSums> blocks) {}

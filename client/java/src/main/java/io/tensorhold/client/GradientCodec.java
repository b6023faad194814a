package io.tensorhold.client;

import io.tensorhold.numerics.Codec;

/**
 * How the gradients of a session's steps are encoded on the wire. The server decodes them before it
 * adds those of several ranks or makes an optimizer's step, so the weights' own codec is another
 * matter.
 *
 * <p>Error feedback adds what encoding left out of one step to the gradient of the next: residual =
 * gradient + residual − what was sent. Nothing is lost, it comes later. Seide et al., "1-Bit
 * Stochastic Gradient Descent", 2014; Karimireddy et al., "Error Feedback Fixes SignSGD", 2019. It
 * takes 4 bytes of the worker's memory for each element.
 *
 * @param codec any but raw
 * @param fraction of a block's elements that topk sends, above 0 and at most 1; else 1
 * @param errorFeedback whether there is a residual; under topk there always is
 */
public record GradientCodec(Codec codec, double fraction, boolean errorFeedback) {
  /** Gradients as they are. */
  public static final GradientCodec F32 = of(Codec.F32);

  public GradientCodec {
    if (!codec.computable()) {
      throw new TensorholdException("CODEC_INVALID", "gradients can't be sent as " + codec.label());
    }
    if (!(fraction > 0 && fraction <= 1) || (codec == Codec.TOPK && !errorFeedback)) {
      throw new TensorholdException(
          "CODEC_INVALID",
          "topk sends a fraction above 0 and at most 1, with error feedback: value=" + fraction);
    }
  }

  /**
   * A codec without error feedback.
   *
   * @throws TensorholdException CODEC_INVALID for topk: use {@link #topK}
   */
  public static GradientCodec of(Codec codec) {
    return new GradientCodec(codec, 1, false);
  }

  /** Of each block only this fraction of the elements, those of the largest magnitude. */
  public static GradientCodec topK(double fraction) {
    return new GradientCodec(Codec.TOPK, fraction, true);
  }

  /** The same with error feedback. */
  public GradientCodec withErrorFeedback() {
    return new GradientCodec(codec, fraction, true);
  }
}

package io.tensorhold.client.plan;

import java.io.IOException;
import java.nio.file.Path;

/**
 * The sizes that fix a transformer's parameter count, whichever family's names a config.json gives
 * them.
 *
 * @param family which formula counts its parameters
 * @param layers blocks of the network
 * @param hidden width of the residual stream
 * @param heads attention heads
 * @param kvHeads heads of keys and values; {@code heads} where each query head has its own
 * @param headSize width of one head
 * @param intermediate width of the feed-forward layer (of each expert)
 * @param vocabulary rows of the embedding
 * @param positions rows of the learned position embedding; 0 for none
 * @param tokenTypes rows of BERT's token-type embedding; 0 for none
 * @param experts feed-forward experts a layer; 1 for a dense model
 * @param tied whether the output matrix is the embedding itself
 */
public record ModelConfig(
    Family family,
    long layers,
    long hidden,
    long heads,
    long kvHeads,
    long headSize,
    long intermediate,
    long vocabulary,
    long positions,
    long tokenTypes,
    long experts,
    boolean tied) {
  /** A kind of transformer: which tensors a layer has. */
  public enum Family {
    /** GPT-2 and GPT-3: learned positions, biases everywhere, tied output. */
    GPT2,
    /** BERT: learned positions and token types, a normalized embedding, a pooler. */
    BERT,
    /** BLOOM: as GPT-2 without positions, but with a normalized embedding. */
    BLOOM,
    /** LLaMA, Mistral and Mixtral: grouped keys and values, gated feed-forward, no biases. */
    LLAMA
  }

  /**
   * The config.json of a Hugging Face checkpoint, or the folder that holds it.
   *
   * @throws io.tensorhold.client.checkpoint.CheckpointException if it is not valid JSON of at most
   *     1 MiB, of a family that is not known, or a size is missing or out of range
   */
  public static ModelConfig parse(Path path) throws IOException {
    return ConfigJson.read(path).toModelConfig();
  }

  /** Its parameters, tensor by tensor of each kind. */
  public ParameterCount parameters() {
    return ParameterFormula.count(this);
  }
}

package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.TableSpec;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * A table of a model: rows of {@link #dim} values under int64 keys. Its rows are pulled by {@link
 * TensorholdClient#pullRows} and pushed by {@link Session#pushRows}.
 */
public final class Table {
  private final ModelHandle model;
  private final ParameterSpec spec;

  Table(ModelHandle model, ParameterSpec spec) {
    this.model = model;
    this.spec = spec;
  }

  /** The model it belongs to. */
  public ModelHandle model() {
    return model;
  }

  /** Its name in the model. */
  public String name() {
    return spec.getName();
  }

  /** Its number, unique in the cluster. */
  public long id() {
    return spec.getId();
  }

  /** Values of a row. */
  public int dim() {
    return spec.getTable().getDim();
  }

  /** The form its rows are stored in. */
  public Codec codec() {
    return Codec.ofId(spec.getCodecValue());
  }

  /** What makes it a table: the length of its rows, and their initializer. */
  public TableSpec table() {
    return spec.getTable();
  }

  /** Bytes of a row under a codec, without optimizer state. */
  public long rowBytes(Codec codec) {
    return codec.bytes(DType.F32, dim());
  }

  /**
   * The key of a text: the first 8 bytes, big-endian, of the SHA-256 of its UTF-8. Among n texts
   * some two share a key, and so a row, with a probability of about n² / 2⁶⁵: 3 % for a billion.
   */
  public static long key(String text) {
    try {
      byte[] hash =
          MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
      return java.nio.ByteBuffer.wrap(hash).getLong();
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }

  @Override
  public String toString() {
    return "%s, rows of %d %s".formatted(name(), dim(), codec().label());
  }
}

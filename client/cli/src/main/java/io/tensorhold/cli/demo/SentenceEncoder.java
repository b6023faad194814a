package io.tensorhold.cli.demo;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.io.IOException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** Sentence embeddings of a BERT graph: the mean of the last layer over the tokens, of length 1. */
final class SentenceEncoder implements AutoCloseable {
  private final WordPiece tokenizer;
  private final OrtSession session;

  SentenceEncoder(byte[] graph, WordPiece tokenizer) throws IOException {
    this.tokenizer = tokenizer;
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      options.setIntraOpNumThreads(1);
      session = OrtEnvironment.getEnvironment().createSession(graph, options);
    } catch (OrtException e) {
      throw new IOException("ONNX Runtime refuses the graph: " + e.getMessage(), e);
    }
  }

  float[] encode(String text) throws IOException {
    long[] ids = tokenizer.encode(text);
    long[] ones = new long[ids.length];
    Arrays.fill(ones, 1);
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    try (OnnxTensor tokens = OnnxTensor.createTensor(environment, new long[][] {ids});
        OnnxTensor mask = OnnxTensor.createTensor(environment, new long[][] {ones});
        OnnxTensor types = OnnxTensor.createTensor(environment, new long[1][ids.length])) {
      Map<String, OnnxTensor> inputs = new HashMap<>();
      inputs.put("input_ids", tokens);
      inputs.put("attention_mask", mask);
      if (session.getInputNames().contains("token_type_ids")) {
        inputs.put("token_type_ids", types);
      }
      try (OrtSession.Result result = session.run(inputs)) {
        return mean(((float[][][]) result.get(0).getValue())[0]);
      }
    } catch (OrtException e) {
      throw new IOException("ONNX Runtime failed: " + e.getMessage(), e);
    }
  }

  private static float[] mean(float[][] tokens) {
    float[] sum = new float[tokens[0].length];
    for (float[] token : tokens) {
      for (int i = 0; i < sum.length; i++) {
        sum[i] += token[i];
      }
    }
    double norm = 0;
    for (float value : sum) {
      norm += (double) value * value;
    }
    for (int i = 0; i < sum.length; i++) {
      sum[i] = (float) (sum[i] / Math.sqrt(norm));
    }
    return sum;
  }

  static double cosine(float[] a, float[] b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (int i = 0; i < a.length; i++) {
      dot += (double) a[i] * b[i];
      aa += (double) a[i] * a[i];
      bb += (double) b[i] * b[i];
    }
    return dot / Math.sqrt(aa * bb);
  }

  @Override
  public void close() {
    try {
      session.close();
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
  }
}

package io.tensorhold.cli.demo;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * BERT's tokenizer: clean, lower-case and strip accents; split at white space and punctuation; then
 * the longest pieces of the vocabulary, from the left. Devlin et al., "BERT", 2018; Wu et al.,
 * "Google's Neural Machine Translation System", 2016.
 */
final class WordPiece {
  private static final int MAX_TOKENS = 256;
  private static final int MAX_WORD = 100;

  private final Map<String, Integer> vocabulary = new HashMap<>();

  /** A tokenizer with the vocabulary of a tokenizer.json. */
  WordPiece(InputStream tokenizerJson) throws IOException {
    JsonNode vocab = new ObjectMapper().readTree(tokenizerJson).path("model").path("vocab");
    for (Map.Entry<String, JsonNode> entry : vocab.properties()) {
      vocabulary.put(entry.getKey(), entry.getValue().asInt());
    }
    if (!vocabulary.containsKey("[CLS]")) {
      throw new IOException("the tokenizer has no [CLS]: it is not a BERT vocabulary");
    }
  }

  /** Ids of a text between [CLS] and [SEP], at most {@value #MAX_TOKENS}. */
  long[] encode(String text) {
    List<Integer> ids = new ArrayList<>();
    ids.add(id("[CLS]"));
    for (String word : words(normalize(text))) {
      pieces(word, ids);
    }
    List<Integer> kept = ids.subList(0, Math.min(ids.size(), MAX_TOKENS - 1));
    long[] result = new long[kept.size() + 1];
    for (int i = 0; i < kept.size(); i++) {
      result[i] = kept.get(i);
    }
    result[kept.size()] = id("[SEP]");
    return result;
  }

  private int id(String token) {
    return vocabulary.getOrDefault(token, vocabulary.getOrDefault("[UNK]", 0));
  }

  private static String normalize(String text) {
    StringBuilder clean = new StringBuilder();
    text.codePoints()
        .forEach(
            c -> {
              if (c == 0 || c == 0xfffd || (Character.isISOControl(c) && !isSpace(c))) {
                return;
              }
              if (isSpace(c)) {
                clean.append(' ');
              } else if (Character.isIdeographic(c)) {
                clean.append(' ').appendCodePoint(c).append(' ');
              } else {
                clean.appendCodePoint(c);
              }
            });
    String lower = clean.toString().toLowerCase(Locale.ROOT);
    return Normalizer.normalize(lower, Normalizer.Form.NFD).replaceAll("\\p{Mn}", "");
  }

  private static boolean isSpace(int c) {
    return c == '\t' || c == '\n' || c == '\r' || Character.isSpaceChar(c);
  }

  private static List<String> words(String text) {
    List<String> words = new ArrayList<>();
    StringBuilder word = new StringBuilder();
    text.codePoints()
        .forEach(
            c -> {
              if (c == ' ' || isPunctuation(c)) {
                if (!word.isEmpty()) {
                  words.add(word.toString());
                  word.setLength(0);
                }
                if (c != ' ') {
                  words.add(Character.toString(c));
                }
              } else {
                word.appendCodePoint(c);
              }
            });
    if (!word.isEmpty()) {
      words.add(word.toString());
    }
    return words;
  }

  private static boolean isPunctuation(int c) {
    boolean ascii =
        (c >= 33 && c <= 47)
            || (c >= 58 && c <= 64)
            || (c >= 91 && c <= 96)
            || (c >= 123 && c <= 126);
    return ascii || Character.toString(c).matches("\\p{P}");
  }

  private void pieces(String word, List<Integer> ids) {
    if (word.codePointCount(0, word.length()) > MAX_WORD) {
      ids.add(id("[UNK]"));
      return;
    }
    List<Integer> found = new ArrayList<>();
    int start = 0;
    while (start < word.length()) {
      int end = word.length();
      Integer piece = null;
      while (end > start && piece == null) {
        piece = vocabulary.get((start == 0 ? "" : "##") + word.substring(start, end));
        end--;
      }
      if (piece == null) {
        ids.add(id("[UNK]"));
        return;
      }
      found.add(piece);
      start = end + 1;
    }
    ids.addAll(found);
  }
}

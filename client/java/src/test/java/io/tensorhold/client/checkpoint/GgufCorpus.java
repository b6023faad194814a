package io.tensorhold.client.checkpoint;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** Hostile .gguf files, at least one for each rule, and what each is refused with. */
final class GgufCorpus {
  private static final int U8 = 0;
  private static final int U32 = 4;
  private static final int BOOL = 7;
  private static final int TEXT = 8;
  private static final int ARRAY = 9;
  private static final int U64 = 10;

  private final Map<String, Hostile> cases = new LinkedHashMap<>();

  private GgufCorpus() {}

  /** A GGUF file written field by field; offsets and padding are the writer's business. */
  static final class Gguf {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    static Gguf head(long tensors, long entries) {
      return new Gguf().raw("GGUF").u32(3).u64(tensors).u64(entries);
    }

    Gguf raw(String text) {
      out.writeBytes(text.getBytes(StandardCharsets.UTF_8));
      return this;
    }

    Gguf u8(int value) {
      out.write(value);
      return this;
    }

    Gguf u32(int value) {
      return little(value, 4);
    }

    Gguf u64(long value) {
      return little(value, 8);
    }

    private Gguf little(long value, int bytes) {
      for (int i = 0; i < bytes; i++) {
        u8((int) (value >>> (8 * i)));
      }
      return this;
    }

    Gguf text(String text) {
      return u64(text.getBytes(StandardCharsets.UTF_8).length).raw(text);
    }

    /** A key and its type. */
    Gguf key(String key, int type) {
      return text(key).u32(type);
    }

    Gguf info(String name, int type, long offset, long... innermostFirst) {
      text(name).u32(innermostFirst.length);
      Arrays.stream(innermostFirst).forEach(this::u64);
      return u32(type).u64(offset);
    }

    /** Padding to 32 bytes, then so many more. */
    Gguf data(int bytes) {
      out.writeBytes(new byte[Math.floorMod(-out.size(), 32) + bytes]);
      return this;
    }

    byte[] bytes() {
      return out.toByteArray();
    }
  }

  static Map<String, Hostile> all() {
    GgufCorpus corpus = new GgufCorpus();
    corpus.heads();
    corpus.entries();
    corpus.tensors();
    return corpus.cases;
  }

  private void add(String name, Gguf file, String... message) {
    if (cases.put(name, new Hostile(file.bytes(), message)) != null) {
      throw new IllegalArgumentException("twice: " + name);
    }
  }

  private void heads() {
    add("magic", new Gguf().raw("GGML").u32(3).u64(0).u64(0), "\"GGUF\"");
    for (int version : new int[] {0, 1, 2, 4, -1}) {
      add(
          "version-" + version,
          new Gguf().raw("GGUF").u32(version).u64(0).u64(0),
          "version " + Integer.toUnsignedString(version),
          "allowed is 3");
    }
    add("big-endian", new Gguf().raw("GGUF").u32(0x03000000).u64(0).u64(0), "big-endian");
    add("empty-file", new Gguf(), "past the end");
    add("head-that-ends", new Gguf().raw("GGUF").u32(3).u64(0), "past the end");
    add("tensors-without-end", Gguf.head(-1, 0), "18446744073709551615 tensors", "500000");
    add("entries-without-end", Gguf.head(0, 1L << 40), "1099511627776 entries", "65536");
    add("bytes-behind-no-tensors", Gguf.head(0, 0).data(33), "bytes after the header");
    add("tensors-that-are-not-there", Gguf.head(500_000, 0), "past the end");
  }

  private void entries() {
    add("key-empty", Gguf.head(0, 1).key("", U8).u8(1), "key of an entry is empty");
    add("key-twice", Gguf.head(0, 2).key("a", U8).u8(1).key("a", U8).u8(1), "\"a\" is there twice");
    add("key-past-the-end", Gguf.head(0, 1).u64(1000).raw("a"), "key of an entry reaches past");
    add("key-of-63-bits", Gguf.head(0, 1).u64(Long.MAX_VALUE).raw("a"), "past the end");
    add("key-of-64-bits", Gguf.head(0, 1).u64(-1).raw("a"), "past the end");
    add(
        "key-that-is-long",
        Gguf.head(0, 1).key("k".repeat(70_000), U8).u8(1),
        "70000 bytes",
        "65535");
    add("key-that-is-not-utf-8", Gguf.head(0, 1).u64(1).u8(0xff).u32(U8).u8(1), "UTF-8");
    add("type-unknown", Gguf.head(0, 1).key("a", 13).u32(0), "unknown type 13");
    add("type-of-32-bits", Gguf.head(0, 1).key("a", -1).u32(0), "unknown type 4294967295");
    add("bool-of-2", Gguf.head(0, 1).key("a", BOOL).u8(2), "bool", "is 2");
    add("text-past-the-end", Gguf.head(0, 1).key("a", TEXT).u64(9).raw("a"), "\"a\" reaches past");
    add("text-of-64-bits", Gguf.head(0, 1).key("a", TEXT).u64(-9).raw("a"), "past the end");
    add(
        "array-of-arrays",
        Gguf.head(0, 1).key("a", ARRAY).u32(ARRAY).u64(1).u32(U8).u64(0),
        "array of arrays");
    add("array-past-the-end", Gguf.head(0, 1).key("a", ARRAY).u32(U64).u64(2).u64(0), "past");
    add(
        "array-that-overflows",
        Gguf.head(0, 1).key("a", ARRAY).u32(U64).u64(1L << 61).u64(0),
        "past the end");
    add("array-of-64-bits", Gguf.head(0, 1).key("a", ARRAY).u32(U8).u64(-1).u64(0), "past the end");
    add(
        "array-of-texts",
        Gguf.head(0, 1).key("a", ARRAY).u32(TEXT).u64(1L << 60).u64(0),
        "past the end");
    add(
        "array-of-bools",
        Gguf.head(0, 1).key("a", ARRAY).u32(BOOL).u64(3).u8(1).u8(7).u8(1),
        "is 7");
    for (int alignment : new int[] {0, 3, 33, 1 << 21, -1}) {
      add(
          "alignment-" + alignment,
          Gguf.head(0, 1).key("general.alignment", U32).u32(alignment),
          "general.alignment is " + Integer.toUnsignedString(alignment),
          "powers of two");
    }
    add("alignment-of-u64", Gguf.head(0, 1).key("general.alignment", U64).u64(32), "type 10");
    Gguf keys = Gguf.head(0, 65_536);
    for (int i = 0; i < 65_536; i++) {
      keys.key("%0500d".formatted(i), U8).u8(1);
    }
    add("keys-that-take-memory", keys, "takes more than 50331648 bytes");
  }

  private void tensors() {
    add("name-empty", Gguf.head(1, 0).info("", 0, 0, 4).data(16), "name of a tensor is empty");
    add(
        "name-twice",
        Gguf.head(2, 0).info("a", 0, 0, 8).info("a", 0, 32, 8).data(64),
        "\"a\" is there twice");
    add(
        "five-dimensions",
        Gguf.head(1, 0).info("a", 0, 0, 1, 1, 1, 1, 4).data(16),
        "5 dimensions",
        "limit is 4");
    add("dimensions-without-end", Gguf.head(1, 0).text("a").u32(-1), "4294967295 dimensions");
    for (int type : new int[] {4, 5, 31, 36, 42, 63, 64, 1000, -1}) {
      add(
          "type-" + type,
          Gguf.head(1, 0).info("a", type, 0, 256).data(1024),
          "\"a\"",
          "type " + Integer.toUnsignedString(type) + " is not known");
    }
    add("dimension-negative", Gguf.head(1, 0).info("a", 0, 0, -4).data(16), "negative", "-4");
    add(
        "product-that-overflows",
        Gguf.head(1, 0).info("a", 0, 0, 1L << 32, 1L << 32).data(16),
        "overflows");
    add("bytes-that-overflow", Gguf.head(1, 0).info("a", 28, 0, 1L << 61).data(16), "overflows");
    add(
        "sum-that-overflows",
        Gguf.head(2, 0).info("a", 24, 0, Long.MAX_VALUE).info("b", 24, 0, Long.MAX_VALUE).data(16),
        "overflows");
    add("row-of-33-in-q8_0", Gguf.head(1, 0).info("a", 8, 0, 33).data(68), "rows have 33", "32");
    add("row-of-16-in-q4_0", Gguf.head(1, 0).info("a", 2, 0, 16, 2).data(18), "rows have 16");
    add(
        "row-of-32-in-q4_k",
        Gguf.head(1, 0).info("a", 12, 0, 32, 8).data(144),
        "rows have 32",
        "256");
    add("scalar-in-q8_0", Gguf.head(1, 0).info("a", 8, 0).data(34), "rows have 1");
    add(
        "offset-of-the-first",
        Gguf.head(1, 0).info("a", 0, 32, 8).data(64),
        "offset is 32, expected 0");
    add(
        "offset-not-padded",
        Gguf.head(2, 0).info("a", 0, 0, 4).info("b", 0, 16, 4).data(48),
        "\"b\"",
        "16, expected 32");
    add(
        "offset-with-a-gap",
        Gguf.head(2, 0).info("a", 0, 0, 4).info("b", 0, 64, 4).data(96),
        "64, expected 32");
    add(
        "offset-of-another",
        Gguf.head(2, 0).info("a", 0, 0, 4).info("b", 0, 0, 4).data(48),
        "0, expected 32");
    add("offset-of-64-bits", Gguf.head(1, 0).info("a", 0, -32, 4).data(16), "18446744073709551584");
    add("truncated", Gguf.head(1, 0).info("a", 0, 0, 8).data(31), "truncated");
    add("truncated-by-far", Gguf.head(1, 0).info("a", 0, 0, 1L << 40).data(31), "truncated");
    add("bytes-behind", Gguf.head(1, 0).info("a", 0, 0, 4).data(33), "after the last tensor");
    Gguf infos = Gguf.head(400_000, 0);
    for (int i = 0; i < 400_000; i++) {
      infos.info("%08d".formatted(i), 24, 0, 0);
    }
    add("infos-that-take-memory", infos.data(0), "takes more than 50331648 bytes");
  }
}

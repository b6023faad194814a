package io.tensorhold.client.checkpoint;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The part of {@link TorchCorpus} whose pickles are good: what is wrong is the file around them.
 */
final class TorchArchives {
  private final TorchCorpus corpus;

  TorchArchives(TorchCorpus corpus) {
    this.corpus = corpus;
  }

  void archives() {
    TorchFile compressed = TorchFile.of(TorchCorpus.good(), 16);
    compressed.entry("a/data/0").method = 8;
    corpus.add("compressed", compressed, "\"a/data/0\"", "compressed");
    TorchFile sizes = TorchFile.of(TorchCorpus.good(), 16);
    sizes.entry("a/data/0").saidBytes = 1000;
    corpus.add("two-sizes", sizes, "1000 bytes, stored as 16");
    corpus.add(
        "record-twice",
        TorchFile.of(TorchCorpus.good(), 16).add("a/data/0", new byte[16]),
        "two records");
    corpus.add(
        "record-in-another-folder",
        TorchFile.of(TorchCorpus.good(), 16).add("b/x", new byte[1]),
        "\"b/x\"");
    corpus.add(
        "record-in-no-folder", TorchFile.of(TorchCorpus.good(), 16).add("x", new byte[1]), "\"x\"");
    TorchFile encrypted = TorchFile.of(TorchCorpus.good(), 16);
    encrypted.entry("a/data/0").flags = 1;
    corpus.add("encrypted", encrypted, "encrypted");
    TorchFile past = TorchFile.of(TorchCorpus.good(), 16);
    past.entry("a/data/0").saidBytes = 1 << 20;
    past.entry("a/data/0").saidStored = 1 << 20;
    corpus.add("record-past-the-end", past, "past the end");
    TorchFile overlap = TorchFile.of(TorchCorpus.good(), 16);
    overlap.bytes();
    overlap.entry("a/version").saidBytes = 40;
    overlap.entry("a/version").saidStored = 40;
    corpus.add("records-that-overlap", overlap, "overlaps");
    TorchFile elsewhere = TorchFile.of(TorchCorpus.good(), 16);
    elsewhere.entry("a/data/0").saidAt = 3;
    corpus.add("record-without-a-header", elsewhere, "no header");
    TorchFile renamed = TorchFile.of(TorchCorpus.good(), 16);
    renamed.entry("a/data/0").localName = "a/data/1".getBytes(StandardCharsets.UTF_8);
    corpus.add("record-under-another-name", renamed, "no header");
    TorchFile zip64 = TorchFile.of(TorchCorpus.good(), 16);
    zip64.entry("a/data/0").saidBytes = 0xffffffffL;
    zip64.entry("a/data/0").saidStored = 0xffffffffL;
    corpus.add("zip64-without-sizes", zip64, "zip64 sizes");
    TorchFile damaged = TorchFile.of(TorchCorpus.good(), 16);
    damaged.entry("a/data.pkl").crc ^= 1;
    corpus.add("pickle-with-another-crc", damaged, "CRC-32");
    corpus.add(
        "more-entries", TorchFile.of(TorchCorpus.good(), 16).bytes(1, 0), "ends within record 3");
    corpus.add(
        "fewer-entries",
        TorchFile.of(TorchCorpus.good(), 16).bytes(-1, 0),
        "after the last record");
    corpus.add(
        "directory-elsewhere", TorchFile.of(TorchCorpus.good(), 16).bytes(0, 1), "does not end");
    corpus.add(
        "entries-of-zip64",
        TorchFile.of(TorchCorpus.good(), 16).bytes(0xffff - 3, 0),
        "zip64 record");
    byte[] whole = TorchFile.of(TorchCorpus.good(), 16).bytes();
    corpus.add("bytes-behind", Arrays.copyOf(whole, whole.length + 1), "after the archive");
    byte[] before = new byte[whole.length + 1];
    System.arraycopy(whole, 0, before, 1, whole.length);
    corpus.add("bytes-before", before, "PK");
    for (int length : new int[] {0, 3, 21, 22, whole.length - 23, whole.length - 1}) {
      corpus.add("cut-at-" + length, Arrays.copyOf(whole, length), "");
    }
    corpus.add("no-pickle", new TorchFile().add("a/x", new byte[1]), "without data.pkl");
    corpus.add(
        "big-endian",
        TorchFile.of(TorchCorpus.good(), 16)
            .add("a/byteorder", "big".getBytes(StandardCharsets.UTF_8)),
        "\"big\"");
  }

  void formats() {
    byte[] legacy = {(byte) 0x80, 2, (byte) 0x8a, 10, 0x6c, (byte) 0xfc, (byte) 0x9c, 0x46};
    corpus.add("legacy-magic", Arrays.copyOf(legacy, 1000), "before 1.6");
    byte[] tar = new byte[1024];
    System.arraycopy("ustar".getBytes(StandardCharsets.US_ASCII), 0, tar, 257, 5);
    corpus.add("tar", tar, "tar archive");
    corpus.add("text", "not a checkpoint".repeat(10).getBytes(StandardCharsets.UTF_8), "PK");
  }
}

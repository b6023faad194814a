package io.tensorhold.client.checkpoint;

import io.tensorhold.client.checkpoint.TorchFile.Pickle;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** Hostile .pt files, at least one for each rule, and what each is refused with. */
final class TorchCorpus {
  private final Map<String, Hostile> cases = new LinkedHashMap<>();

  private TorchCorpus() {}

  static Map<String, Hostile> all() {
    TorchCorpus corpus = new TorchCorpus();
    corpus.code();
    corpus.shapes();
    corpus.bombs();
    TorchArchives archives = new TorchArchives(corpus);
    archives.archives();
    archives.formats();
    return corpus.cases;
  }

  void add(String name, TorchFile file, String... message) {
    add(name, file.bytes(), message);
  }

  void add(String name, byte[] file, String... message) {
    if (cases.put(name, new Hostile(file, message)) != null) {
      throw new IllegalArgumentException("twice: " + name);
    }
  }

  /** A good pickle: one tensor of four elements. */
  static Pickle good() {
    return Pickle.dict().tensor(4, 0, new int[] {4}, new int[] {1}).end();
  }

  private void code() {
    String[][] names = {
      {"posix", "system"},
      {"os", "system"},
      {"builtins", "eval"},
      {"builtins", "getattr"},
      {"subprocess", "Popen"},
      {"torch", "load"},
      {"torch.nn.modules.linear", "Linear"},
      {"torch._utils", "_rebuild_tensor"},
      {"numpy.core.multiarray", "_reconstruct"},
      {"collections", "defaultdict"},
      {"torch", "FloatTensor"}
    };
    for (String[] name : names) {
      Pickle pickle = new Pickle().global(name[0], name[1]).text("touch /tmp/owned").op(0x85);
      add(
          "global-" + name[0] + "." + name[1],
          TorchFile.of(pickle.ops("R.")),
          "\"" + name[0] + "." + name[1] + "\"",
          "nothing of it was run");
    }
    for (char opcode :
        "iolp0123dFILSTVBCP\u0081\u0082\u0083\u0084\u008b\u008c\u0093\u0094\u0095".toCharArray()) {
      add(
          "opcode-0x%02x".formatted((int) opcode),
          TorchFile.of(new Pickle().ops("}" + opcode).ops("\0\0\0\0.")),
          "opcode 0x%02x".formatted((int) opcode));
    }
    add(
        "call-of-a-dtype",
        TorchFile.of(new Pickle().global("torch", "float32").ops(")R.")),
        "\"torch.float32\"",
        "not to be called");
    add("call-of-a-text", TorchFile.of(new Pickle().text("f").ops(")R.")), "REDUCE", "a name");
    add(
        "call-without-a-tuple",
        TorchFile.of(new Pickle().global("collections", "OrderedDict").ops("}R.")),
        "a tuple");
    add(
        "setitem-on-a-list",
        TorchFile.of(new Pickle().op(']').text("k").ops("Ns.")),
        "SETITEM",
        "a list");
    add(
        "setitems-on-a-tuple",
        TorchFile.of(new Pickle().ops(")(").text("k").ops("Nu.")),
        "SETITEM",
        "a tuple");
    add("append-to-a-dict", TorchFile.of(new Pickle().ops("}Na.")), "appends to a dict");
    add("key-that-is-a-list", TorchFile.of(new Pickle().ops("}(]Nu.")), "key", "a list");
    add(
        "key-twice",
        TorchFile.of(new Pickle().op('}', '(').text("k").op('N').text("k").ops("Nu.")),
        "\"k\" twice");
    add(
        "key-without-value",
        TorchFile.of(new Pickle().op('}', '(').text("k").ops("u.")),
        "without a value");
    add("build-on-a-list", TorchFile.of(new Pickle().ops("]}b.")), "BUILD", "a list");
    add(
        "build-on-a-tensor",
        TorchFile.of(new Pickle().tensor(4, 0, new int[] {4}, new int[] {1}).ops("}b."), 16),
        "BUILD",
        "a tensor");
    byte[] four = good().bytes();
    four[1] = 4;
    add(
        "protocol-4",
        new TorchFile().add("a/data.pkl", four).add("a/data/0", new byte[16]),
        "protocol 2");
    add("stack-that-is-empty", TorchFile.of(new Pickle().ops(".")), "more values from its stack");
    add("mark-that-is-not-there", TorchFile.of(new Pickle().ops("t.")), "never set");
    add("values-after-the-first", TorchFile.of(new Pickle().ops("}}.")), "goes on");
    add("bytes-after-stop", TorchFile.of(good().ops("N"), 16), "goes on");
    add("pickle-that-ends", TorchFile.of(Pickle.dict()), "ends within");
  }

  private void tensor(String name, int bytes, Pickle value, String... message) {
    add(name, TorchFile.of(value.end(), bytes), message);
  }

  private void shapes() {
    int[] four = {4};
    int[] one = {1};
    tensor(
        "declared-more-than-the-record",
        12,
        Pickle.dict().tensor(4, 0, four, one),
        "\"0\"",
        "4 elements of 4 bytes",
        "12 bytes");
    tensor("declared-less-than-the-record", 20, Pickle.dict().tensor(4, 0, four, one), "20 bytes");
    tensor("declared-negative", 16, Pickle.dict().tensor(-1, 0, four, one), "-1 elements");
    tensor(
        "offset-past-the-storage", 16, Pickle.dict().tensor(4, 1, four, one), "element 4", "has 4");
    tensor("offset-negative", 16, Pickle.dict().tensor(4, -1, four, one), "offset is -1");
    tensor(
        "strides-past-the-storage",
        16,
        Pickle.dict().tensor(4, 0, new int[] {2, 2}, new int[] {3, 1}),
        "element 4");
    tensor(
        "strides-negative", 16, Pickle.dict().tensor(4, 3, four, new int[] {-1}), "strides", "-1");
    tensor(
        "strides-of-another-rank",
        16,
        Pickle.dict().tensor(4, 0, four, new int[] {1, 1}),
        "1 dimensions and 2 strides");
    tensor("size-negative", 16, Pickle.dict().tensor(4, 0, new int[] {-4}, one), "-4");
    int most = Integer.MAX_VALUE;
    tensor(
        "size-that-overflows",
        16,
        Pickle.dict().tensor(4, 0, new int[] {most, most, most}, new int[] {0, 0, 0}),
        "overflows");
    tensor(
        "strides-that-overflow",
        16,
        Pickle.dict().tensor(4, 0, new int[] {most, 2, 2}, new int[] {most, most, most}),
        "element");
    tensor(
        "expanded",
        16,
        Pickle.dict().tensor(4, 0, new int[] {1 << 30}, new int[] {0}),
        "expanded",
        "contiguous");
    tensor(
        "rank-33", 16, Pickle.dict().tensor(4, 0, new int[33], new int[33]), "33", "limit is 32");
    add(
        "storage-without-a-record",
        TorchFile.of(Pickle.dict().tensor(4, 0, four, one).end()),
        "\"0\"",
        "no record");
    tensor(
        "tensor-on-a-text",
        16,
        Pickle.dict()
            .global("torch._utils", "_rebuild_tensor_v2")
            .op('(')
            .text("s")
            .number(0)
            .tuple(4)
            .tuple(1)
            .op(0x89)
            .orderedDict()
            .ops("tR"),
        "not on a storage");
    tensor(
        "tensor-with-hooks",
        16,
        Pickle.dict()
            .global("torch._utils", "_rebuild_tensor_v2")
            .op('(')
            .storage(4)
            .number(0)
            .tuple(4)
            .tuple(1)
            .op(0x89)
            .ops("}(")
            .text("h")
            .ops("NutR"),
        "hooks");
    tensor(
        "tensor-that-is-conjugated",
        16,
        Pickle.dict()
            .global("torch._utils", "_rebuild_tensor_v2")
            .op('(')
            .storage(4)
            .number(0)
            .tuple(4)
            .tuple(1)
            .op(0x89)
            .orderedDict()
            .ops("}(")
            .text("conj")
            .op(0x88)
            .ops("utR"),
        "conjugated");
    tensor(
        "tensor-without-arguments",
        16,
        Pickle.dict().global("torch._utils", "_rebuild_tensor_v2").ops(")R"),
        "0 arguments");
    tensor(
        "untyped-without-a-dtype",
        16,
        Pickle.dict()
            .global("torch._utils", "_rebuild_tensor_v2")
            .op('(')
            .op('(')
            .text("storage")
            .global("torch.storage", "UntypedStorage")
            .text("0")
            .text("cpu")
            .number(16)
            .ops("tQ")
            .number(0)
            .tuple(4)
            .tuple(1)
            .op(0x89)
            .orderedDict()
            .ops("tR"),
        "untyped",
        "no dtype");
    tensor("persistent-id-of-a-text", 16, Pickle.dict().text("0").op('Q'), "persistent id");
    tensor(
        "persistent-id-of-a-module",
        16,
        Pickle.dict()
            .op('(')
            .text("module")
            .global("torch", "FloatStorage")
            .text("0")
            .text("cpu")
            .number(4)
            .ops("tQ"),
        "persistent id");
    tensor(
        "storage-of-a-dtype's-name",
        16,
        Pickle.dict()
            .op('(')
            .text("storage")
            .global("torch", "Size")
            .text("0")
            .text("cpu")
            .number(4)
            .ops("tQ"),
        "\"torch.Size\"",
        "not a type of storages");
    tensor(
        "storage-of-two-types",
        16,
        Pickle.dict()
            .op('(')
            .storage(4)
            .op('(')
            .text("storage")
            .global("torch", "IntStorage")
            .text("0")
            .text("cpu")
            .number(4)
            .ops("tQt"),
        "two types");
    tensor("no-tensors", 16, Pickle.dict().number(1), "no tensors");
    tensor(
        "name-twice",
        16,
        Pickle.dict()
            .ops("}(")
            .text("b")
            .tensor(4, 0, four, one)
            .op('u')
            .text("w.b")
            .tensor(4, 0, four, one),
        "\"w.b\" is there twice");
    Pickle views = new Pickle().op(']', '(');
    for (int i = 0; i < 200; i++) { // transposed, so none is an alias
      views.tensor(2500, 0, new int[] {50, 50}, new int[] {1, 50});
    }
    add("views-without-end", TorchFile.of(views.ops("e."), 10_000), "overlap", "8 times the file");
  }

  private void bombs() {
    add(
        "memo-far-away",
        TorchFile.of(new Pickle().ops("}r").int4(0x7fffffff).ops(".")),
        "memo entry 2147483647");
    add("memo-unknown", TorchFile.of(new Pickle().op('h', 0).ops(".")), "memo entry 0 of 0");
    add(
        "memo-unknown-long",
        TorchFile.of(new Pickle().op('j').int4(-1).ops(".")),
        "memo entry 4294967295");
    add("marks", TorchFile.of(new Pickle().ops("(".repeat(1000)).ops(".")), "65 marks", "64");
    add(
        "tuples-in-tuples",
        TorchFile.of(new Pickle().ops(")").ops("\u0085".repeat(3_000_000)).ops(".")),
        "takes more than 50331648 bytes");
    Pickle lists = new Pickle().op(']');
    for (int i = 0; i < 100; i++) {
      lists.op('q', i, ']', 'h', i, 'a'); // each holds the one before it
    }
    add("lists-in-lists", TorchFile.of(lists.ops(".")), "goes on");
    Pickle deep = new Pickle().ops("]").tensor(4, 0, new int[] {4}, new int[] {1}).op('a');
    for (int i = 0; i < 100; i++) {
      deep.op(0x85);
    }
    add("levels", TorchFile.of(deep.ops("."), 16), "64 levels");
    Pickle self = new Pickle().op(']', 'q', 0, 'h', 0, 'a', '.');
    add("list-in-itself", TorchFile.of(self), "refer to one another");
    Pickle laughs = new Pickle().ops("]").op('q', 0);
    for (int i = 1; i < 30; i++) {
      laughs.ops("](").op('h', i - 1, 'h', i - 1).ops("e").op('q', i);
      laughs.op('\u0086');
    }
    add("billion-laughs", TorchFile.of(laughs.ops(".")), "4 for each byte of data.pkl");
    add(
        "values",
        TorchFile.of(new Pickle().ops("(").ops("N".repeat(1_100_000)).ops(".")),
        "values",
        "1048576");
    byte[] same = new byte[2 * 8_000_001];
    for (int i = 0; i < same.length; i += 2) {
      same[i] = 'q';
    }
    Pickle opcodes = new Pickle().op('}').ops(new String(same, StandardCharsets.ISO_8859_1));
    add("opcodes", TorchFile.of(opcodes.ops(".")), "more than 8000000 opcodes");
    add(
        "empty-dicts",
        TorchFile.of(new Pickle().ops("(").ops("}".repeat(1_000_000)).ops(".")),
        "takes more than 50331648 bytes");
    add(
        "text-of-4-GiB",
        TorchFile.of(new Pickle().op('X').int4(-1).ops(".")),
        "4294967295 bytes",
        "1048576");
    add("text-past-the-end", TorchFile.of(new Pickle().op('X').int4(1000).ops(".")), "ends within");
    add(
        "text-that-is-not-utf-8",
        TorchFile.of(new Pickle().op('X').int4(1).op(0xff).ops(".")),
        "UTF-8");
    add("number-of-9-bytes", TorchFile.of(new Pickle().op(0x8a, 9).ops("123456789.")), "9 bytes");
    add("name-without-end", TorchFile.of(new Pickle().ops("c" + "x".repeat(5000))), "256 bytes");
    Pickle names = new Pickle().ops("}(").text("n".repeat(4000)).ops("](");
    for (int i = 0; i < 20_000; i++) {
      names.tensor(1, 0, new int[] {1}, new int[] {1});
    }
    add("names-that-are-long", TorchFile.of(names.ops("eu."), 4), "takes more than 50331648 bytes");
    add(
        "name-that-is-long",
        TorchFile.of(
            new Pickle()
                .ops("}(")
                .text("n".repeat(5000))
                .tensor(4, 0, new int[] {4}, new int[] {1})
                .ops("u."),
            16),
        "5001 characters",
        "4096");
  }
}

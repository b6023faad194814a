package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Operation;

/**
 * Whether a push of rows fits its table; asked by the leader before the log, and again when it is
 * applied.
 */
public final class RowsCheck {
  private RowsCheck() {}

  /**
   * Checks that a parameter is a table.
   *
   * @throws Refusal REQUEST_INVALID if it is a tensor
   */
  public static void checkTable(String name, ParameterRecord table) {
    if (table.table() == null) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "%s is a tensor, not a table: pull and push its blocks".formatted(name),
          "parameter",
          name);
    }
  }

  /**
   * Checks a push.
   *
   * @throws Refusal saying what does not fit, the value seen and the value allowed
   */
  public static void check(String name, ParameterRecord table, RowsCommand push, long valueBytes) {
    checkTable(name, table);
    Codec codec = push.codec();
    if (!codec.computable() || !codec.fixedSize()) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "rows of %s can't be sent as %s: send f32, f16 or bf16".formatted(name, codec.label()),
          "parameter",
          name,
          "value",
          codec.label());
    }
    if (push.operation() == Operation.GRADIENT && !table.trained()) {
      throw new Refusal(
          Reason.OPTIMIZER_INVALID,
          "%s has no optimizer: create it with one, or use ADD".formatted(name),
          "parameter",
          name);
    }
    if (push.operation() == Operation.RESTORE && codec != table.codec()) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "rows of %s are restored as they are stored: value=%s expected=%s"
              .formatted(name, codec.label(), table.codec().label()),
          "parameter",
          name,
          "value",
          codec.label(),
          "expected",
          table.codec().label());
    }
    checkKeys(name, push.keys(), 0, push.keys().length);
    long rowBytes = RowUpdate.bytes(table, push);
    long expected = rowBytes * push.keys().length;
    if (valueBytes != expected) {
      throw new Refusal(
          Reason.PAYLOAD_LENGTH,
          "%d rows of %s, of %d elements each, take %d bytes of %s: value=%d"
              .formatted(
                  push.keys().length,
                  name,
                  table.form().dim(),
                  expected,
                  codec.label(),
                  valueBytes),
          "parameter",
          name,
          "value",
          valueBytes,
          "expected",
          expected);
    }
  }

  /**
   * Checks that keys rise, from one position up to another.
   *
   * @throws Refusal KEYS_INVALID naming the first that does not, LIMIT if there are too many
   */
  public static void checkKeys(String name, long[] keys, int from, int to) {
    if (to - from > Limits.MESSAGE_ROWS) {
      throw new Refusal(
          Reason.LIMIT,
          "rows of a message: value=%d limit=%d; send several"
              .formatted(to - from, Limits.MESSAGE_ROWS),
          "limit-name",
          "message-rows",
          "value",
          to - from,
          "limit",
          Limits.MESSAGE_ROWS);
    }
    for (int i = from + 1; i < to; i++) {
      if (keys[i] <= keys[i - 1]) {
        throw new Refusal(
            Reason.KEYS_INVALID,
            "key %d of %s %s: value=%d after %d; sort the keys of a shard, and add up the values of"
                    .formatted(
                        i,
                        name,
                        keys[i] == keys[i - 1] ? "comes twice" : "is out of order",
                        keys[i],
                        keys[i - 1])
                + " one that comes twice",
            "parameter",
            name,
            "value",
            keys[i]);
      }
    }
  }
}

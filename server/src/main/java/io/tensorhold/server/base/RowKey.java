package io.tensorhold.server.base;

/** Which row: the id of its table and its key there. */
public record RowKey(long table, long key) {
  @Override
  public String toString() {
    return Long.toUnsignedString(table) + "/" + key;
  }
}

package io.tensorhold.server.rpc;

/**
 * What a stream of pushes has taken and not answered yet. It asks for the next push only while that
 * stays within {@value #IN_FLIGHT_BYTES} bytes and {@value #IN_FLIGHT_PUSHES} pushes; past that,
 * HTTP/2's flow control stops the client. Once the client has ended and all is answered, it ends
 * the stream.
 */
final class PushWindow {
  private static final long IN_FLIGHT_BYTES = 4 << 20;
  private static final int IN_FLIGHT_PUSHES = 1024;

  private final PushStream.Sender sender;
  private long bytesInFlight;
  private int pushesInFlight;
  private boolean asked = true;
  private boolean halfClosed;

  PushWindow(PushStream.Sender sender) {
    this.sender = sender;
  }

  /** A push has come. */
  synchronized void taken(long bytes) {
    asked = false;
    bytesInFlight += bytes;
    pushesInFlight++;
  }

  /** The answer of a push was sent. */
  void answered(long bytes) {
    boolean over;
    synchronized (this) {
      bytesInFlight -= bytes;
      pushesInFlight--;
      over = halfClosed && pushesInFlight == 0;
    }
    if (over) {
      sender.complete();
    } else {
      readOn();
    }
  }

  /** Asks for the next push if there is room for it. */
  void readOn() {
    synchronized (this) {
      if (asked
          || halfClosed
          || bytesInFlight >= IN_FLIGHT_BYTES
          || pushesInFlight >= IN_FLIGHT_PUSHES) {
        return;
      }
      asked = true;
    }
    sender.request();
  }

  /** The client has gone: nothing is asked for any more. */
  synchronized void clientGone() {
    halfClosed = false;
    asked = true;
  }

  /** The client sends no more. */
  void clientEnded() {
    boolean over;
    synchronized (this) {
      halfClosed = true;
      over = pushesInFlight == 0;
    }
    if (over) {
      sender.complete();
    }
  }
}

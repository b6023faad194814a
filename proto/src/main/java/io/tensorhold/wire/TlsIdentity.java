package io.tensorhold.wire;

import io.netty.handler.ssl.SslContext;
import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.logging.Level;
import java.util.logging.Logger;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedKeyManager;
import javax.net.ssl.X509ExtendedTrustManager;
import org.jspecify.annotations.Nullable;

/**
 * Who this end of a connection is, and whom it trusts.
 *
 * <p>The files are looked at again with every handshake, so that a renewed certificate is used from
 * the next connection on. Files that can't be used, as when a certificate is new and its key is not
 * yet, are named in the log, and what was read before stays in use. A handshake uses one state of
 * the files from its beginning to its end: the alias that it was given names it.
 */
public final class TlsIdentity {
  private static final Logger log = Logger.getLogger(TlsIdentity.class.getName());

  /** States that handshakes may still use: the present one and the one before. */
  private static final int STATES_KEPT = 2;

  private final List<TlsFiles> files;
  private final Map<String, State> states = new ConcurrentHashMap<>();
  private volatile State state;
  private Map<Path, FileTime> failed = Map.of();
  private @Nullable SslContext clientContext;

  private record State(
      int number,
      Map<Path, FileTime> times,
      List<X509Certificate> chain,
      @Nullable PrivateKey key,
      X509ExtendedTrustManager trust) {
    String alias() {
      return "state-" + number;
    }
  }

  /**
   * Reads the files.
   *
   * @param files of this end
   * @param moreAuthorities a file of further authorities to be trusted
   * @throws IllegalArgumentException if a file can't be used, naming it and what is wrong
   */
  public TlsIdentity(TlsFiles files, Path... moreAuthorities) {
    List<TlsFiles> all = new ArrayList<>();
    all.add(files);
    for (Path more : moreAuthorities) {
      all.add(new TlsFiles(more, null, null));
    }
    this.files = List.copyOf(all);
    this.state = read(0, times());
    states.put(state.alias(), state);
  }

  /** The identity of a client whose files were named; null: it uses no TLS. */
  public static @Nullable TlsIdentity ofClient(TlsFiles files) {
    return files.authority() == null ? null : new TlsIdentity(files);
  }

  /** Shows this end's certificate, the latest at each handshake. */
  public KeyManager keyManager() {
    return new Keys();
  }

  /** Judges the other end's certificate, by the latest authorities at each handshake. */
  public TrustManager trustManager() {
    return new Trust();
  }

  /** For channels to servers. */
  synchronized SslContext clientContext() {
    SslContext made = clientContext;
    if (made == null) {
      made = TlsContexts.client(this);
      clientContext = made;
    }
    return made;
  }

  /** Whether this end has a certificate to show. */
  boolean hasCertificate() {
    return !state.chain().isEmpty();
  }

  private Map<Path, FileTime> times() {
    Map<Path, FileTime> times = new TreeMap<>();
    for (TlsFiles some : files) {
      for (Path file : Arrays.asList(some.authority(), some.certificate(), some.key())) {
        if (file != null) {
          times.put(file, time(file));
        }
      }
    }
    return times;
  }

  private static FileTime time(Path file) {
    try {
      return Files.getLastModifiedTime(file);
    } catch (IOException e) {
      return FileTime.fromMillis(0);
    }
  }

  private State read(int number, Map<Path, FileTime> times) {
    TlsFiles own = files.getFirst();
    List<X509Certificate> trusted = new ArrayList<>();
    for (TlsFiles some : files) {
      if (some.authority() != null) {
        trusted.addAll(PemFiles.certificates("certificate authority", some.authority()));
      }
    }
    X509ExtendedTrustManager trust = trust(trusted);
    if (own.certificate() == null || own.key() == null) {
      return new State(number, times, List.of(), null, trust);
    }
    List<X509Certificate> chain = PemFiles.chain("certificate", own.certificate());
    PrivateKey key = PemFiles.key(own.key(), chain.getFirst(), own.certificate());
    return new State(number, times, chain, key, trust);
  }

  private static X509ExtendedTrustManager trust(List<X509Certificate> authorities) {
    try {
      KeyStore store = KeyStore.getInstance("PKCS12");
      store.load(null, null);
      for (int i = 0; i < authorities.size(); i++) {
        store.setCertificateEntry("authority-" + i, authorities.get(i));
      }
      TrustManagerFactory factory =
          TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      factory.init(store);
      for (TrustManager manager : factory.getTrustManagers()) {
        if (manager instanceof X509ExtendedTrustManager extended) {
          return extended;
        }
      }
      throw new IllegalStateException("the JDK has no X.509 trust manager");
    } catch (GeneralSecurityException | IOException e) {
      throw new IllegalStateException(e); // an empty store in memory, the JDK's own algorithms
    }
  }

  /** The state of the files now, or the last one that could be used. */
  private State current() {
    Map<Path, FileTime> now = times();
    if (now.equals(state.times())) {
      return state;
    }
    synchronized (this) {
      if (!now.equals(state.times()) && !now.equals(failed)) {
        try {
          State next = read(state.number() + 1, now);
          states.put(next.alias(), next);
          states.values().removeIf(old -> old.number() <= next.number() - STATES_KEPT);
          state = next;
          log.info("TLS: the certificates were read again");
        } catch (IllegalArgumentException e) {
          failed = now;
          log.log(Level.WARNING, "{0}; what was read before stays in use", e.getMessage());
        }
      }
      return state;
    }
  }

  private final class Keys extends X509ExtendedKeyManager {
    private @Nullable String alias() {
      State present = current();
      return present.chain().isEmpty() ? null : present.alias();
    }

    private String @Nullable [] aliases() {
      String alias = alias();
      return alias == null ? null : new String[] {alias};
    }

    private @Nullable State named(@Nullable String alias) {
      return alias == null ? null : states.get(alias);
    }

    @Override
    public String @Nullable [] getClientAliases(String type, Principal @Nullable [] issuers) {
      return aliases();
    }

    @Override
    public @Nullable String chooseClientAlias(
        String[] types, Principal @Nullable [] issuers, @Nullable Socket socket) {
      return alias();
    }

    @Override
    public @Nullable String chooseEngineClientAlias(
        String[] types, Principal @Nullable [] issuers, @Nullable SSLEngine engine) {
      return alias();
    }

    @Override
    public String @Nullable [] getServerAliases(String type, Principal @Nullable [] issuers) {
      return aliases();
    }

    @Override
    public @Nullable String chooseServerAlias(
        String type, Principal @Nullable [] issuers, @Nullable Socket socket) {
      return alias();
    }

    @Override
    public @Nullable String chooseEngineServerAlias(
        String type, Principal @Nullable [] issuers, @Nullable SSLEngine engine) {
      return alias();
    }

    @Override
    public X509Certificate @Nullable [] getCertificateChain(@Nullable String alias) {
      State chosen = named(alias);
      return chosen == null ? null : chosen.chain().toArray(X509Certificate[]::new);
    }

    @Override
    public @Nullable PrivateKey getPrivateKey(@Nullable String alias) {
      State chosen = named(alias);
      return chosen == null ? null : chosen.key();
    }
  }

  private final class Trust extends X509ExtendedTrustManager {
    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type)
        throws CertificateException {
      current().trust().checkClientTrusted(chain, type);
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket)
        throws CertificateException {
      current().trust().checkClientTrusted(chain, type, socket);
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine)
        throws CertificateException {
      current().trust().checkClientTrusted(chain, type, engine);
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type)
        throws CertificateException {
      current().trust().checkServerTrusted(chain, type);
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket)
        throws CertificateException {
      current().trust().checkServerTrusted(chain, type, socket);
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine)
        throws CertificateException {
      current().trust().checkServerTrusted(chain, type, engine);
    }

    @Override
    public X509Certificate[] getAcceptedIssuers() {
      return state.trust().getAcceptedIssuers();
    }
  }
}

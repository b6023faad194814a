package io.tensorhold.server;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The package rules of the server: who may import whom. */
class ArchitectureTest {
  private static final String ROOT = "io.tensorhold.server.";
  private static final List<String> PACKAGES =
      List.of("base", "catalog", "store", "shard", "raft", "training", "admin", "rpc", "app");
  private static final Map<String, List<String>> MAY_IMPORT =
      Map.of(
          "base", List.of(),
          "catalog", List.of("base"),
          "store", List.of("base"),
          "shard", List.of("base", "store", "catalog"),
          "raft", List.of("base", "catalog", "store", "shard"),
          "training", List.of("base", "catalog", "store", "shard", "raft"),
          "admin", List.of("base", "catalog", "store", "shard", "raft", "training"),
          "rpc", List.of("base", "catalog", "store", "shard", "raft", "training", "admin"),
          "app", PACKAGES);
  private static JavaClasses classes;

  @BeforeAll
  static void read() {
    classes =
        new ClassFileImporter()
            .withImportOption(new ImportOption.DoNotIncludeTests())
            .importPackages("io.tensorhold");
  }

  @Test
  void packagesImportOnlyWhatStandsBelowThem() {
    for (String name : PACKAGES) {
      String[] forbidden =
          PACKAGES.stream()
              .filter(other -> !other.equals(name) && !allowed(name).contains(other))
              .map(other -> ROOT + other + "..")
              .toArray(String[]::new);
      if (forbidden.length > 0) {
        noClasses()
            .that()
            .resideInAPackage(ROOT + name + "..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(forbidden)
            .check(classes);
      }
    }
  }

  private static List<String> allowed(String name) {
    return java.util.Objects.requireNonNull(MAY_IMPORT.get(name));
  }

  @Test
  void librariesStayWhereTheyBelong() {
    only("org.rocksdb..", "store");
    only("org.apache.ratis..", "raft");
    only("io.grpc..", "rpc");
    only("io.netty..", "rpc");
    only("io.prometheus..", "admin");
    only("com.fasterxml..", "app");
  }

  private static void only(String library, String... homes) {
    String[] others =
        PACKAGES.stream()
            .filter(name -> !Arrays.asList(homes).contains(name))
            .map(name -> ROOT + name + "..")
            .toArray(String[]::new);
    noClasses()
        .that()
        .resideInAnyPackage(others)
        .should()
        .dependOnClassesThat()
        .resideInAPackage(library)
        .check(classes);
  }

  @Test
  void simdStaysInItsKernels() {
    noClasses()
        .that()
        .haveNameNotMatching(".*\\.Vector[^.]*") // nested ones too
        .should()
        .dependOnClassesThat()
        .resideInAPackage("jdk.incubator.vector..")
        .check(classes);
  }

  @Test
  void shardHasNoThreadSocketOrClock() {
    noClasses()
        .that()
        .resideInAPackage(ROOT + "shard..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("java.net..", "java.time..", "java.util.concurrent.locks..")
        .orShould()
        .dependOnClassesThat()
        .haveFullyQualifiedName("java.lang.Thread")
        .orShould()
        .callMethod(System.class, "nanoTime")
        .orShould()
        .callMethod(System.class, "currentTimeMillis")
        .check(classes);
  }
}

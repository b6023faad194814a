package io.tensorhold.cli;

import io.tensorhold.cli.demo.CompareCommand;
import io.tensorhold.cli.demo.DemoCommand;
import io.tensorhold.cli.demo.DemoWorkerCommand;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.server.app.ServerMain;
import java.io.IOException;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.logging.Level;
import java.util.logging.Logger;
import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.ParseResult;

/** The entry point of every {@code tensorhold} subcommand. */
@Command(
    name = "tensorhold",
    mixinStandardHelpOptions = true,
    version = "tensorhold 0.1.0-SNAPSHOT",
    description = "A parameter server that does not forget.",
    footerHeading = "%nA first look:%n",
    footer = {
      "  tensorhold demo                                  the whole story in three minutes",
      "  tensorhold server --data-dir /var/lib/tensorhold a server on 127.0.0.1:7070",
      "  tensorhold load model.safetensors --name bert    store a checkpoint",
      "  tensorhold describe bert                         what it is and what it takes",
      "  tensorhold export bert out.safetensors           get it back, byte for byte"
    },
    subcommands = {
      ServerCommand.class,
      LoadCommand.class,
      ExportCommand.class,
      LsCommand.class,
      DescribeCommand.class,
      PullCommand.class,
      CreateTableCommand.class,
      PullRowsCommand.class,
      ScanCommand.class,
      CountCommand.class,
      ExportTableCommand.class,
      ImportTableCommand.class,
      RmCommand.class,
      PlanCommand.class,
      VerifyCommand.class,
      StatusCommand.class,
      RemoveServerCommand.class,
      DemoCommand.class,
      DemoWorkerCommand.class,
      CompareCommand.class,
      CommandLine.HelpCommand.class,
      Main.Completion.class
    })
public final class Main implements Callable<Integer> {
  private static final Logger GRPC_LOG = Logger.getLogger("io.grpc");

  @Override
  public Integer call() {
    CommandLine.usage(this, System.out);
    return 0;
  }

  /** Runs a command; the exit status: 0 done, 1 failed, 2 wrong usage. */
  public static int run(String... args) {
    if (args.length > 0 && args[0].equals("server")) {
      return ServerMain.run(Arrays.copyOfRange(args, 1, args.length));
    }
    if (System.getenv("TENSORHOLD_LOG_LEVEL") == null) {
      System.setProperty("TENSORHOLD_LOG_LEVEL", "WARN");
      // gRPC logs through the JDK; what it has to say reaches the user as the command's own error.
      GRPC_LOG.setLevel(Level.OFF);
    }
    return new CommandLine(new Main())
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setUsageHelpAutoWidth(true)
        .setExecutionExceptionHandler(Main::failed)
        .execute(args);
  }

  private static int failed(Exception error, CommandLine command, ParseResult parsed) {
    Throwable cause = error;
    while ((cause instanceof CompletionException || cause instanceof java.io.UncheckedIOException)
        && cause.getCause() != null) {
      cause = cause.getCause();
    }
    boolean debug = parsed.expandedArgs().contains("--debug");
    String text =
        switch (cause) {
          case TensorholdException e -> "%s (%s)".formatted(e.getMessage(), e.reason());
          case CliFailure e -> String.valueOf(e.getMessage());
          case java.nio.file.NoSuchFileException e -> "no such file: " + e.getMessage();
          case java.nio.file.AccessDeniedException e -> "no permission: " + e.getMessage();
          case IOException e -> String.valueOf(e.getMessage());
          case IllegalArgumentException e -> String.valueOf(e.getMessage());
          default -> "unforeseen: " + cause + "; run again with --debug for the details";
        };
    System.err.println("tensorhold: " + text);
    if (debug) {
      cause.printStackTrace();
    }
    return 1;
  }

  /** Prints the script that completes commands and options in bash and zsh. */
  @Command(
      name = "completion",
      mixinStandardHelpOptions = true,
      description = "Print the completion script of bash and zsh.",
      footer = "%nExample: source <(tensorhold completion)")
  static final class Completion implements Callable<Integer> {
    @Override
    public Integer call() {
      System.out.print(AutoComplete.bash("tensorhold", new CommandLine(new Main())));
      return 0;
    }
  }

  /** Runs a command as a process of its own. */
  public static void main(String[] args) {
    System.exit(run(args));
  }
}

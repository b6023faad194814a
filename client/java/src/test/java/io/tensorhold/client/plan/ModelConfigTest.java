package io.tensorhold.client.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.client.checkpoint.CheckpointException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelConfigTest {
  private static final String LLAMA =
      "'model_type':'llama','hidden_size':4096,'num_hidden_layers':32,'num_attention_heads':32,"
          + "'intermediate_size':11008,'vocab_size':32000";

  @TempDir Path folder;

  private Path config(String json) throws IOException {
    return Files.writeString(folder.resolve("config.json"), json.replace('\'', '"'));
  }

  private static String gpt2(int layers, int hidden, int heads, int positions) {
    return "'model_type':'gpt2','vocab_size':50257,'n_layer':%d,'n_embd':%d,'n_head':%d,"
            .formatted(layers, hidden, heads)
        + "'n_positions':"
        + positions
        + ",'n_inner':null";
  }

  private static String bert(int layers, int hidden, int heads) {
    return "'model_type':'bert','vocab_size':30522,'type_vocab_size':2,"
        + "'max_position_embeddings':512,'num_hidden_layers':%d,'hidden_size':%d,"
            .formatted(layers, hidden)
        + "'num_attention_heads':%d,'intermediate_size':%d".formatted(heads, 4 * hidden);
  }

  private static String llama(
      int layers, int hidden, int heads, int kvHeads, int intermediate, int vocabulary) {
    return "'model_type':'llama','num_hidden_layers':%d,'hidden_size':%d,".formatted(layers, hidden)
        + "'num_attention_heads':%d,'num_key_value_heads':%d,".formatted(heads, kvHeads)
        + "'intermediate_size':%d,'vocab_size':%d".formatted(intermediate, vocabulary);
  }

  private long parameters(String json) throws IOException {
    return ModelConfig.parse(config("{" + json + "}")).parameters().total();
  }

  @Test
  void everyKnownModelsParameterCount() throws IOException {
    assertThat(parameters(gpt2(12, 768, 12, 1024))).isEqualTo(124_439_808);
    assertThat(parameters(gpt2(96, 12288, 96, 2048))).isEqualTo(174_604_259_328L);
    assertThat(parameters(bert(12, 768, 12))).isEqualTo(109_482_240);
    assertThat(parameters(bert(24, 1024, 16))).isEqualTo(335_141_888);
    assertThat(
            parameters(
                "'model_type':'bloom','vocab_size':250880,'n_layer':70,'n_embed':14336,"
                    + "'num_attention_heads':112"))
        .isEqualTo(176_247_271_424L);
    assertThat(parameters(llama(32, 4096, 32, 32, 11008, 32000))).isEqualTo(6_738_415_616L);
    assertThat(parameters(llama(80, 8192, 64, 64, 22016, 32000))).isEqualTo(65_285_660_672L);
    assertThat(parameters(llama(32, 4096, 32, 8, 14336, 128_256))).isEqualTo(8_030_261_248L);
    assertThat(parameters(llama(80, 8192, 64, 8, 28672, 128_256))).isEqualTo(70_553_706_496L);
    assertThat(parameters(llama(126, 16384, 128, 8, 53248, 128_256))).isEqualTo(405_853_388_800L);
    String mixtral = llama(32, 4096, 32, 8, 14336, 32000).replace("'llama'", "'mixtral'");
    assertThat(parameters(mixtral + ",'num_local_experts':8")).isEqualTo(46_702_792_704L);
  }

  @Test
  void tiedOutputIsCountedOnce() throws IOException {
    long apart = parameters(LLAMA);
    assertThat(parameters(LLAMA + ",'tie_word_embeddings':true")).isEqualTo(apart - 32000L * 4096);
  }

  @Test
  void headSizeMayDifferFromItsShareOfTheWidth() throws IOException {
    long usual = parameters(LLAMA);
    assertThat(parameters(LLAMA + ",'head_dim':256")).isEqualTo(usual + 32L * 4 * 4096 * 4096);
  }

  @Test
  void folderStandsForItsConfig() throws IOException {
    config("{" + LLAMA + "}");
    assertThat(ModelConfig.parse(folder).layers()).isEqualTo(32);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "'hidden_size':4096 | 'hidden_size':-1 | hidden_size is \"-1\", allowed",
        "'hidden_size':4096 | 'hidden_size':4096.5 | hidden_size is \"4096.5\"",
        "'hidden_size':4096 | 'hidden_size':99999999999999999999 | hidden_size",
        "'hidden_size':4096 | 'hidden_size':'4096' | hidden_size",
        "'hidden_size':4096 | 'x':1 | hidden_size is missing",
        "'hidden_size':4096 | 'hidden_size':4095 | not a multiple of the heads",
        "'num_attention_heads':32 | 'num_attention_heads':0 | num_attention_heads",
        "'num_hidden_layers':32 | 'num_hidden_layers':1000000000 | 100000",
        "'vocab_size':32000 | 'vocab_size':null | vocab_size",
        "'vocab_size':32000 | 'vocab_size':1,'vocab_size':2 | uplicate",
        "'vocab_size':32000 | 'vocab_size':1,'attention_bias':true | attention_bias is true",
        "'vocab_size':32000 | 'vocab_size':1,'mlp_bias':3 | mlp_bias is \"3\"",
        "'vocab_size':32000 | 'vocab_size':1,'num_key_value_heads':5 | not a multiple of 5",
        "'llama' | 'falcon' | \"falcon\" is not known; known are gpt2",
        "'model_type' | 'type' | model_type is missing",
      })
  void badConfig(String good, String bad, String problem) throws IOException {
    String json = ("{" + LLAMA + "}").replace(good.trim(), bad.trim());
    Path path = config(json);
    assertThatThrownBy(() -> ModelConfig.parse(path))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("config.json")
        .hasMessageContaining(problem.trim());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "[]", "null", "{", "{} {}", "nonsense", "\u0000"})
  void fileThatIsNotAJsonObject(String content) throws IOException {
    Path path = config(content);
    assertThatThrownBy(() -> ModelConfig.parse(path))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("JSON");
  }

  @Test
  void bombs() throws IOException {
    Path deep = config("{'x':".repeat(100_000));
    assertThatThrownBy(() -> ModelConfig.parse(deep))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("nesting");
    Path large = config(" ".repeat((1 << 20) + 1));
    assertThatThrownBy(() -> ModelConfig.parse(large))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("at most 1048576 bytes");
  }

  @Test
  void largestNumbersAllowedOverflowWithAnErrorAndNotSilently() throws IOException {
    ModelConfig largest =
        ModelConfig.parse(
            config(
                "{'model_type':'mixtral','num_hidden_layers':100000,'hidden_size':1000000,"
                    + "'num_attention_heads':1000000,'head_dim':1000000,'vocab_size':1000000000,"
                    + "'intermediate_size':1000000,'num_local_experts':10000}"));
    assertThatThrownBy(() -> largest.parameters().total()).isInstanceOf(ArithmeticException.class);
  }
}

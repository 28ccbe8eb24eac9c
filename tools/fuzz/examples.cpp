#include "input_file.hpp"
#include "tangram/text/labelled_text.hpp"

using namespace tangram;

namespace {

Tokenizer tokenizer_of(const char* name) {
    const std::string seed = fuzz::seed(name);
    FilesRead files;
    return {fuzz::file("tokenizer.json", seed.substr(0, seed.find('\0'))), files};
}

}  // namespace

/// A table as examples: the first byte says of which kind the table is and how it is read, up to the first
/// zero byte stands the template, the rest is the table.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    static const Tokenizer masked = tokenizer_of("tokenizer/bert"),
                           causal = tokenizer_of("tokenizer/bytelevel");
    const std::string_view all = fuzz::text(data + 1, size - 1);
    const std::size_t end = std::min(all.find('\0'), all.size());
    const char* const kinds[] = {"table.tsv", "table.csv", "table.jsonl"};
    LabelledText options;
    options.file = fuzz::file(kinds[data[0] % 3], all.substr(std::min(end + 1, all.size())));
    options.prompt = all.substr(0, end);
    options.max_length = 12;
    const bool is_masked = data[0] / 3 % 2 == 1;
    if (is_masked) options.reading = Reading::mask_token;
    switch (data[0] / 6 % 4) {
        case 0:
            options.label_words =
                is_masked ? std::vector<std::string>{"bad", "film"} : std::vector<std::string>{" bad", "a"};
            break;
        case 1:
            break;  // a classifier
        case 2:
            options.scores_answers = true, options.label_words = {" bad", "a film"};
            break;
        default:
            options.scores_answers = true, options.completion = "label";
    }
    const Tokenizer& tokenizer = is_masked ? masked : causal;
    fuzz::read([&] {
        FilesRead tables;
        static_cast<void>(possible_label_words(options, tokenizer, tables));
    });
    return fuzz::read([&] {
        FilesRead tables;
        const LabelledExamples found = read_labelled_text(options, tokenizer, tables);
        static_cast<void>(warnings_of(found.data, "table"));
        for (Index e = 0; e < found.data.examples(); ++e) {
            const Index read = found.data.read(e);
            if (read < 0 || read >= std::ssize(found.data.tokens(e))) std::abort();
            for (Index s = 0; s < found.data.sequences(e); ++s)
                if (const Index tokens = found.data.passed(e, s).tokens;
                    tokens <= 0 || tokens > options.max_length)
                    std::abort();
        }
    });
}

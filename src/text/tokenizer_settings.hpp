#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/files/files_read.hpp"

namespace tangram {

/// What stands beside a tokenizer.json: tokenizer_config.json and, in older folders, special_tokens_map.json
/// and added_tokens.json. transformers lets some of their keys change what tokenizer.json does, and its
/// versions differ in which. Here tokenizer.json counts, with the tokens that it lacks added behind it as
/// transformers does; a key that contradicts it is refused by name, and one that nobody knows is warned of.
class TokenizerSettings {
  public:
    /// Reads what there is. @param file  tokenizer.json, of which messages speak too
    /// @throws Error(input) as read_json; malformed for a file that is not an object
    TokenizerSettings(const std::filesystem::path& file, const nlohmann::json& tokenizer, FilesRead& files);

    /// Tokens that tokenizer.json lacks, as entries of its "added_tokens" without ids, in the order of ids.
    /// @throws Error(input, contradiction) for one that is there with other flags
    std::vector<nlohmann::json> more_tokens();
    /// @param before, behind  the tokens that tokenizer.json puts around every text; overwritten by those
    ///                        that stand there, where the class of the tokenizer goes by the keys instead
    /// @param model_type      of tokenizer.json's model: "BPE", ...
    /// @throws Error(input) naming the key: contradiction, or unsupported
    void check(std::vector<std::string>& before, std::vector<std::string>& behind,
               const std::string& model_type);
    /// A special token by its key; empty: not named.
    std::string special(const char* key);
    /// What a person should hear of; complete behind check().
    const std::vector<std::string>& warnings() const { return warnings_; }

  private:
    const nlohmann::json* ask(const std::string& key);
    std::optional<bool> flag(const std::string& key);
    void compare(const std::string& key, bool there, const std::string& does);
    void add(const nlohmann::json& token, std::vector<nlohmann::json>& more);
    std::string class_name();
    bool goes_by_the_key(const char* key, const char* token, std::vector<std::string>& around,
                         const std::string& where);
    void check_around(const char* key, const char* token, const char* else_token,
                      std::vector<std::string>& around, const std::string& where);
    void check_prefix_space();
    void check_bert(const nlohmann::json& normalizer);
    void check_case();
    void check_class(const std::string& model_type);
    void warn_of_unread();

    std::string file_;  ///< tokenizer_config.json, of which messages speak
    const nlohmann::json& tokenizer_;
    nlohmann::json config_, special_, added_;             ///< objects; of files that are not there empty ones
    std::set<std::string> asked_;                         ///< keys of config_
    std::map<std::string, const nlohmann::json*> known_;  ///< added tokens; of those added here nullptr
    std::vector<std::string> warnings_;
};

}  // namespace tangram

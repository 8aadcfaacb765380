#include "core/images/image_build.hpp"

#include <minions/base/spawn.hpp>

#include <fmt/format.h>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <deque>
#include <string_view>

namespace minions::core {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t lines_kept = 20;
constexpr std::size_t longest_line = 1024;

bool of_letters(std::string_view text, std::string_view further) {
    return std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || further.find(c) != std::string_view::npos;
    });
}

bool is_package(std::string_view text) {
    return !text.empty() && text.size() <= 128 && of_letters(text.substr(0, 1), "") &&
           of_letters(text, "+.-");
}

bool is_mirror(std::string_view text) {
    const bool scheme =
        text.starts_with("http://") || text.starts_with("https://") || text.starts_with("file:///");
    return scheme && of_letters(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ._~:/@%+-");
}

/// Takes what a recipe writes apart, line by line.
class RecipeOutput {
  public:
    explicit RecipeOutput(OperationContext& context) : context_(context) {}

    void add(Output which, std::string_view piece) {
        std::string& line = which == Output::out ? out_ : err_;
        for (const char c : piece) {
            if (c == '\n') {
                take(line);
                line.clear();
            } else if (line.size() < longest_line) {
                line += c >= ' ' || c == '\t' ? c : ' ';
            }
        }
    }

    /// The last lines that were no progress, the very last first.
    std::string last_words() {
        if (!err_.empty()) take(err_);
        std::string words;
        for (auto line = lines_.rbegin(); line != lines_.rend(); ++line)
            words += (words.empty() ? "" : "\n") + *line;
        return words;
    }

  private:
    void take(std::string_view line) {
        constexpr std::string_view prefix = "progress ";
        if (line.empty()) return;
        if (!line.starts_with(prefix)) {
            lines_.emplace_back(line);
            if (lines_.size() > lines_kept) lines_.pop_front();
            context_.progress({{}, std::string(line), {}, {}});
            return;
        }
        line.remove_prefix(prefix.size());
        Progress step{"building", {}, number(line), {}};
        step.total = number(line);
        step.message = line;
        context_.progress(step);
    }

    static std::optional<std::int64_t> number(std::string_view& line) {
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
        if (error != std::errc()) return std::nullopt;
        line.remove_prefix(static_cast<std::size_t>(end - line.data()));
        if (line.starts_with(' ')) line.remove_prefix(1);
        return value;
    }

    OperationContext& context_;
    std::string out_;
    std::string err_;
    std::deque<std::string> lines_;
};

/// What a recipe gets of our environment: how to reach an archive.
std::vector<std::string> recipe_environment() {
    std::vector<std::string> environment = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LC_ALL=C",
        "DEBIAN_FRONTEND=noninteractive"};
    for (const char* name : {"http_proxy", "https_proxy", "no_proxy"}) {
        const char* value = std::getenv(name);
        if (value != nullptr) environment.push_back(fmt::format("{}={}", name, value));
    }
    return environment;
}

}  // namespace

void check_build(const ImageBuildSpec& spec, const fs::path& recipes) {
    if (spec.recipe.empty() || !of_letters(spec.recipe, "-") || spec.recipe == "lib")
        throw Error{Code::invalid, "field 'recipe' is no recipe", "debian and minimal are"};
    if (!spec.suite.empty() && !of_letters(spec.suite, ".-"))
        throw Error{Code::invalid, "field 'suite' must be the name of a suite, as 'bookworm'"};
    if (!spec.mirror.empty() && !is_mirror(spec.mirror))
        throw Error{Code::invalid, "field 'mirror' must be the URL of an archive: http, https or file"};
    for (const std::string& package : spec.include)
        if (!is_package(package))
            throw Error{Code::invalid, fmt::format("field 'include' has '{}', which is no package", package)};
    std::error_code error;
    if (!fs::is_regular_file(recipes / (spec.recipe + ".sh"), error))
        throw Error{Code::not_found,
                    fmt::format("there is no recipe '{}' in {}", spec.recipe, recipes.string()),
                    "debian and minimal come with minions; images.recipes_dir names another directory"};
}

void run_recipe(OperationContext& context, const ImageBuildSpec& spec, const fs::path& recipes,
                const fs::path& agent, const fs::path& output) {
    SpawnOptions options;
    // In a process namespace of its own: nothing that it starts outlives it, nor the daemon if that is
    // killed.
    if (::geteuid() == 0) options.argv = {"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"};
    options.argv.insert(options.argv.end(),
                        {recipes / (spec.recipe + ".sh"), "--output", output, "--agent", agent});
    options.parent_death_signal = SIGKILL;
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) options.argv.insert(options.argv.end(), {name, value});
    };
    add("--suite", spec.suite);
    add("--mirror", spec.mirror);
    std::string include;
    for (const std::string& package : spec.include) include += (include.empty() ? "" : ",") + package;
    add("--include", include);
    if (spec.size_mb) add("--size-mb", std::to_string(*spec.size_mb));
    options.env = recipe_environment();
    options.cwd = "/";
    RecipeOutput written(context);
    RunLimits limits;
    limits.deadline = context.deadline();
    limits.max_output_bytes = std::size_t{64} << 20U;
    limits.cancel_fd = context.cancel_fd();
    const RunResult result = run(std::move(options), limits,
                                 [&](Output which, std::string_view piece) { written.add(which, piece); });
    context.check();
    if (result.success()) return;
    const std::string words = written.last_words();
    throw Error{Code::failed, fmt::format("the recipe '{}' failed: {}", spec.recipe,
                                          words.empty() ? result.status.to_string() : words)};
}

}  // namespace minions::core

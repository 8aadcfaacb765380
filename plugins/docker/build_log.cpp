#include "plugins/docker/build_log.hpp"

#include <algorithm>
#include <cstdio>

namespace minions::docker {
namespace {

constexpr std::size_t tail_lines = 20;
constexpr std::size_t tail_bytes = 8192;

/// The id in " ---> 5c4a658d67f1"; empty if the text is none of that form.
std::string_view short_id(std::string_view text, std::string_view before) {
    if (!text.starts_with(before)) return {};
    text.remove_prefix(before.size());
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    if (text.size() < 12 || text.size() > 64) return {};
    if (text.find_first_not_of("0123456789abcdef") != std::string_view::npos) return {};
    return text;
}

}  // namespace

BuildLog::BuildLog(Sinks sinks)
    : sinks_(std::move(sinks)), lines_([this](const Value& value) { message(value); }) {}

void BuildLog::message(const Value& value) {
    if (const auto* line = value.if_string()) {
        text(*line + "\n");
        return;
    }
    if (const Value* stream = value.find("stream")) {
        const std::string written = without_escapes(stream->string_or(""));
        statement(written);
        text(written);
    }
    if (const auto id = value["aux"]["ID"].string_or(""); !id.empty()) image_ = id;
    if (const Value* error = value.find("error")) {
        failure_ = value["errorDetail"]["message"].string_or(error->string_or("the build failed"));
        text(*failure_ + "\n");
    }
    // Pulling a base image: a line a layer, and none for each step of a progress bar.
    if (const auto status = value["status"].string_or("");
        !status.empty() && value["progressDetail"].find("current") == nullptr) {
        const auto id = value["id"].string_or("");
        text(id.empty() ? status + "\n" : id + ": " + status + "\n");
    }
}

/// What the classic builder says of its own doings. A step's command can print the same: so what is collected
/// here is a hint that has to be checked before anything is removed.
void BuildLog::statement(std::string_view line) {
    int step = 0;
    int steps = 0;
    if (line.starts_with("Step ") &&
        std::sscanf(std::string(line.substr(0, 64)).c_str(), "Step %d/%d", &step, &steps) == 2) {
        cached_ = false;
        base_ = line.find(" : FROM ") != std::string_view::npos;
        while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
        sinks_.progress({"building", std::string(line.substr(0, 200)), step, steps});
    } else if (line.starts_with(" ---> Using cache")) {
        cached_ = true;
    } else if (const auto container = short_id(line, " ---> Running in "); !container.empty()) {
        sinks_.container(container);
    } else if (const auto layer = short_id(line, " ---> "); !layer.empty()) {
        if (!cached_ && !base_) sinks_.layer(layer);
    }
}

void BuildLog::text(std::string_view written) {
    if (written.empty()) return;
    sinks_.text(written);
    tail_.append(written);
    if (tail_.size() > 4 * tail_bytes) tail_.erase(0, tail_.size() - tail_bytes);
}

std::string BuildLog::tail() const {
    std::size_t from = tail_.size();
    std::size_t lines = 0;
    while (from > 0 && tail_.size() - from < tail_bytes) {
        if (tail_[from - 1] == '\n' && from != tail_.size() && ++lines == tail_lines) break;
        --from;
    }
    return tail_.substr(from);
}

std::string without_escapes(std::string_view text) {
    std::string plain;
    plain.reserve(text.size());
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\x1b' || at + 1 >= text.size() || text[at + 1] != '[') {
            plain += text[at];
            continue;
        }
        at += 2;
        while (at < text.size() && (text[at] < '@' || text[at] > '~')) ++at;
    }
    return plain;
}

}  // namespace minions::docker

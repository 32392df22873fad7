// Goal: nodes of a graph arrive as they were sent, and bytes that are no nodes are refused without
// taking memory for them. Method: a graph with every kind of node goes through both directions;
// every prefix and every single changed byte of it is decoded, which must end, with what it accepts
// encoding to something that decodes again.
#include "protocol/graph_nodes.h"

#include <gtest/gtest.h>

#include <cstring>

namespace farwarp::wire {
namespace {

std::vector<GraphNode> everyKind() {
  std::vector<GraphNode> nodes(9);
  for (uint32_t i = 0; i < nodes.size(); ++i) nodes[i].index = i;
  nodes[1].kind = NodeKind::kernel;
  nodes[1].function = 77;
  nodes[1].grid[0] = 5;
  nodes[1].attributes.resize(1);
  std::memset(nodes[1].attributes.data(), 0, sizeof(CUlaunchAttribute));
  nodes[1].attributes[0].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  nodes[1].params = {std::byte{1}, std::byte{2}, std::byte{3}};
  nodes[1].edges = {{0, 1, 0, 1}};
  nodes[2].kind = NodeKind::copy;
  nodes[2].to = {NodeCopyEnd::image, 16, 64, 2, 0, 0, 0, 0};
  nodes[2].from = {NodeCopyEnd::array, 0, 0, 0, 9, 4, 3, 2};
  nodes[2].width = 10;
  nodes[2].downloads = true;
  nodes[3].kind = NodeKind::fill;
  nodes[3].address = 1234;
  nodes[3].columns = 8;
  nodes[3].enabled = false;
  nodes[4].kind = NodeKind::eventRecord;
  nodes[4].event = 55;
  nodes[5].kind = NodeKind::eventWait;
  nodes[6].kind = NodeKind::child;
  nodes[6].nodes.resize(2);
  nodes[6].nodes[1].index = 1;
  nodes[7].kind = NodeKind::batch;
  nodes[7].operations = {{1, 2, 3, 4}, {5, 6, 7, 8}};
  nodes[8].kind = NodeKind::conditional;
  nodes[8].condition = 99;
  nodes[8].condition_default = 1;
  nodes[8].condition_type = CU_GRAPH_COND_TYPE_SWITCH;
  nodes[8].nodes.resize(2);
  for (uint32_t i = 0; i < 2; ++i) {
    nodes[8].nodes[i].index = i;
    nodes[8].nodes[i].kind = NodeKind::child;
    nodes[8].nodes[i].nodes.resize(1);
  }
  return nodes;
}

TEST(GraphNodes, ArriveAsTheyWereSent) {
  const std::vector<std::byte> bytes = encodeGraphNodes(everyKind());
  std::vector<GraphNode> nodes;
  ASSERT_TRUE(decodeGraphNodes(bytes, nodes));
  EXPECT_EQ(encodeGraphNodes(nodes), bytes);
  ASSERT_EQ(nodes.size(), 9u);
  EXPECT_EQ(nodes[1].params.size(), 3u);
  EXPECT_EQ(nodes[1].edges[0].type, 1);
  EXPECT_TRUE(nodes[2].downloads);
  EXPECT_EQ(nodes[2].from.array_id, 9u);
  EXPECT_FALSE(nodes[3].enabled);
  EXPECT_EQ(nodes[6].nodes.size(), 2u);
  EXPECT_EQ(nodes[7].operations[1].value, 8u);
  EXPECT_EQ(nodes[8].condition, 99u);
  EXPECT_EQ(nodes[8].nodes[1].nodes.size(), 1u);
}

TEST(GraphNodes, ConditionalNodesHaveBodies) {
  for (int wrong = 0; wrong < 3; ++wrong) {
    std::vector<GraphNode> nodes = everyKind();
    if (wrong == 0) nodes[8].nodes.clear();
    if (wrong == 1) nodes[8].nodes[1].kind = NodeKind::empty;
    if (wrong == 2) nodes[8].condition_type = 3;
    std::vector<GraphNode> decoded;
    EXPECT_FALSE(decodeGraphNodes(encodeGraphNodes(nodes), decoded)) << wrong;
  }
}

TEST(GraphNodes, EveryPrefixIsRefused) {
  const std::vector<std::byte> bytes = encodeGraphNodes(everyKind());
  for (size_t length = 0; length < bytes.size(); ++length) {
    std::vector<GraphNode> nodes;
    EXPECT_FALSE(decodeGraphNodes({bytes.data(), length}, nodes)) << length;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  std::vector<GraphNode> nodes;
  EXPECT_FALSE(decodeGraphNodes(longer, nodes));
}

TEST(GraphNodes, ChangedBytesAreDecodedOrRefused) {
  const std::vector<std::byte> bytes = encodeGraphNodes(everyKind());
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (unsigned value : {0x00u, 0x01u, 0x7fu, 0xffu}) {
      std::vector<std::byte> changed = bytes;
      changed[at] = static_cast<std::byte>(value);
      std::vector<GraphNode> nodes, again;
      if (!decodeGraphNodes(changed, nodes)) continue;
      EXPECT_TRUE(decodeGraphNodes(encodeGraphNodes(nodes), again)) << at;
    }
  }
}

TEST(GraphNodes, TooManyAndTooDeepAreRefused) {
  std::vector<GraphNode> nodes;
  const uint32_t many = kGraphNodesMax + 1;
  std::vector<std::byte> bytes(sizeof many);
  std::memcpy(bytes.data(), &many, sizeof many);
  EXPECT_FALSE(decodeGraphNodes(bytes, nodes));
  std::vector<GraphNode> nest;
  for (uint32_t depth = 0; depth <= kGraphDepthMax; ++depth) {
    std::vector<GraphNode> outer(1);
    outer[0].kind = NodeKind::child;
    outer[0].nodes = std::move(nest);
    nest = std::move(outer);
    std::vector<GraphNode> decoded;
    EXPECT_EQ(decodeGraphNodes(encodeGraphNodes(nest), decoded), depth + 2 <= kGraphDepthMax)
        << depth;
  }
}

}  // namespace
}  // namespace farwarp::wire

/* test/vectors/control_maps.h - the worked examples of docs/protocol: a first map response and deltas to it
 */
#ifndef MANYTAILS_TEST_VECTORS_CONTROL_MAPS_H
#define MANYTAILS_TEST_VECTORS_CONTROL_MAPS_H

static const char control_first_map[] =
    "{\"Node\":{\"ID\":42,\"StableID\":\"n42CNTRL\",\"Name\":\"grafana.tail1234.ts.net.\",\"User\":7001,"
    "\"Key\":\"nodekey:358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254\","
    "\"DiscoKey\":\"discokey:0000000000000000000000000000000000000000000000000000000000000000\","
    "\"Addresses\":[\"100.64.0.42/32\",\"fd7a:115c:a1e0::2a/128\"],"
    "\"AllowedIPs\":[\"100.64.0.42/32\",\"fd7a:115c:a1e0::2a/128\"],"
    "\"Hostinfo\":{\"Hostname\":\"grafana\"},\"Created\":\"2026-01-02T03:04:05Z\",\"Tags\":[\"tag:svc\"],"
    "\"MachineAuthorized\":true,\"CapMap\":{\"https\":null,\"default-auto-update\":[false]}},"
    "\"DERPMap\":{\"Regions\":{\"4\":{\"RegionID\":4,\"RegionCode\":\"fra\",\"RegionName\":\"Frankfurt\","
    "\"Nodes\":[{\"Name\":\"4a\",\"RegionID\":4,\"HostName\":\"derp4a.example\",\"IPv4\":\"198.51.100.4\","
    "\"CanPort80\":true}]}}},"
    "\"Peers\":[{\"ID\":7,\"StableID\":\"n7CNTRL\",\"Name\":\"laptop.tail1234.ts.net.\",\"User\":9,"
    "\"Key\":\"nodekey:8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f\","
    "\"KeyExpiry\":\"2026-09-01T00:00:00Z\","
    "\"DiscoKey\":\"discokey:675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f\","
    "\"Addresses\":[\"100.64.0.7/"
    "32\"],\"AllowedIPs\":null,\"Endpoints\":[\"203.0.113.9:41641\"],\"HomeDERP\":4,"
    "\"Hostinfo\":{\"OS\":\"macOS\",\"Hostname\":\"laptop\"},\"Created\":\"2025-05-05T00:00:00Z\",\"Cap\":"
    "138,"
    "\"Online\":true}],"
    "\"DNSConfig\":{\"Routes\":{\"tail1234.ts.net.\":null},\"Domains\":[\"tail1234.ts.net\"],\"Proxied\":"
    "true,"
    "\"CertDomains\":[\"grafana.tail1234.ts.net\"]},"
    "\"Domain\":\"example.com\",\"CollectServices\":false,"
    "\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"100.64.0.7\"],\"IPProto\":[6],"
    "\"DstPorts\":[{\"IP\":\"100.64.0.42\",\"Ports\":{\"First\":443,\"Last\":443}}]},"
    "{\"SrcIPs\":[\"100.64.0.7\"],"
    "\"CapGrant\":[{\"Dsts\":[\"100.64.0.42/32\"],\"CapMap\":{\"example.com/cap/"
    "grafana\":[{\"role\":\"admin\"}]}}]}]},"
    "\"UserProfiles\":[{\"ID\":9,\"LoginName\":\"alice@example.com\",\"DisplayName\":\"Alice\"},"
    "{\"ID\":7001,\"LoginName\":\"tagged-devices\",\"DisplayName\":\"Tagged Devices\"}],"
    "\"SSHPolicy\":{\"rules\":[]},\"ControlTime\":\"2026-08-22T10:00:00.123456789Z\"}";

static const char *const control_deltas[] = {
    "{\"PeersChangedPatch\":[{\"NodeID\":7,\"Endpoints\":[\"203.0.113.9:50000\"],\"DERPRegion\":9}],"
    "\"ControlTime\":\"2026-08-22T10:01:00Z\"}",
    "{\"PeersChangedPatch\":[{\"NodeID\":7,\"Online\":false,\"LastSeen\":\"2026-08-22T10:02:00Z\"}]}",
    "{\"OnlineChange\":{\"7\":true}}",
    "{\"PeersRemoved\":[7],\"PacketFilters\":{\"base\":[]}}",
    "{\"PacketFilters\":{\"*\":null,\"acl-3\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{"
    "\"First\":0,"
    "\"Last\":65535}}]}]}}",
    "{\"KeepAlive\":true}",
};

#endif

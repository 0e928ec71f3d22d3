/* test/vectors/netmap_steps.h - random map streams, and what Tailscale's own client (Go module v1.102.3)
 * makes of them
 *
 * After each message: the node itself, its peers, users, relay regions and the rest, as
 * src/netmap/test_netmap.c prints them. The clock stands at 1800000000.
 */
#ifndef MANYTAILS_TEST_VECTORS_NETMAP_STEPS_H
#define MANYTAILS_TEST_VECTORS_NETMAP_STEPS_H

static const struct {
    bool first; /* of a stream */
    const char *message, *netmap;
} netmap_steps[] = {
    { true,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42\",\"User\":2,\"Key\":\"nodekey:0101010101"
      "010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"100.64.0.42/32\"],\"KeyE"
      "xpiry\":\"0001-01-01T00:00:00Z\",\"DiscoKey\":\"discokey:04040404040404040404040404040404040404040"
      "40404040404040404040404\",\"Endpoints\":[\"10.0.0.1:1\"],\"Tags\":[\"tag:a\",\"tag:b\"],\"LastSeen"
      "\":null,\"Capabilities\":[],\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h42\",\"NetInfo\":{\"Pre"
      "ferredDERP\":3}}},\"Peers\":[{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"n1.tail.ts.net.\",\"User\":2"
      ",\"Key\":\"nodekey:0404040404040404040404040404040404040404040404040404040404040404\",\"Addresses"
      "\":[\"100.64.0.1/32\"],\"AllowedIPs\":[\"0.0.0.0/0\",\"::/0\"],\"HomeDERP\":900,\"Tags\":[\"tag:a"
      "\",\"tag:b\"],\"LastSeen\":null,\"Online\":null,\"CapMap\":{\"https\":null},\"Hostinfo\":{\"OS\":"
      "\"linux\",\"Hostname\":\"h1\",\"NetInfo\":{\"PreferredDERP\":4}}},{\"ID\":2,\"StableID\":\"n2\",\""
      "Name\":\"other.example.com.\",\"User\":3,\"Key\":\"nodekey:040404040404040404040404040404040404040"
      "4040404040404040404040404\",\"Addresses\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\"],\"DiscoKey"
      "\":\"discokey:0000000000000000000000000000000000000000000000000000000000000000\",\"Tags\":[\"tag:a"
      "\",\"tag:b\"]}],\"PeersRemoved\":[2],\"PeersChangedPatch\":[],\"PeerSeenChange\":{\"6\":true,\"7\""
      ":true,\"5\":false},\"OnlineChange\":{},\"DERPMap\":{\"Regions\":null,\"HomeParams\":{},\"omitDefau"
      "ltRegions\":true},\"PacketFilters\":{\"*\":[{\"SrcIPs\":[\"10.0.0.0/8\"],\"CapGrant\":[{\"Dsts\":["
      "\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]}],\"y\":null,\"base\":null},\"Domain\":\"b.org\"}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"other.example.com"
      ".\" 3 nodekey:04040404 discokey:00000000 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:"
      "115c:a1e0::2/128||0 0|tag:a,tag:b||- 0 false false\ndomain \"b.org\" tka \"\" certs [] magic false"
      "\n" },
    { false, "{\"PeersRemoved\":[7,5],\"PeersChangedPatch\":[]}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"other.example.com"
      ".\" 3 nodekey:04040404 discokey:00000000 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:"
      "115c:a1e0::2/128||0 0|tag:a,tag:b||- 0 false false\ndomain \"b.org\" tka \"\" certs [] magic false"
      "\n" },
    { false,
      "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":0,\"Cap\":99},{\"NodeID\":42,\"DERPRegion\":4"
      ",\"CapMap\":{\"c&<d\":[null]},\"DiscoKey\":\"discokey:02020202020202020202020202020202020202020202"
      "02020202020202020202\"}],\"Domain\":\"example.com\"}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"other.example.com"
      ".\" 3 nodekey:04040404 discokey:00000000 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:"
      "115c:a1e0::2/128||0 99|tag:a,tag:b||- 0 false false\ndomain \"example.com\" tka \"\" certs [] magi"
      "c false\n" },
    { false,
      "{\"PeersChanged\":[],\"PeersRemoved\":[3],\"PeersChangedPatch\":[{\"NodeID\":99,\"DiscoKey\":\"dis"
      "cokey:0000000000000000000000000000000000000000000000000000000000000000\",\"LastSeen\":null},{\"Nod"
      "eID\":99,\"Endpoints\":[\"10.0.0.1:1\"]}],\"OnlineChange\":{\"6\":false,\"77\":true},\"PacketFilte"
      "rs\":null,\"DNSConfig\":{\"Proxied\":true,\"CertDomains\":[\"a.ts.net\"]}}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"other.example.com"
      ".\" 3 nodekey:04040404 discokey:00000000 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:"
      "115c:a1e0::2/128||0 99|tag:a,tag:b||- 0 false false\ndomain \"example.com\" tka \"\" certs [a.ts.n"
      "et] magic true\n" },
    { false,
      "{\"UserProfiles\":[{\"ID\":3,\"LoginName\":\"b@x\",\"DisplayName\":\"D\"}],\"PacketFilters\":{\"*"
      "\":[{\"SrcIPs\":[\"10.0.0.0/8\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]}],\"ba"
      "se\":[{\"SrcIPs\":[\"192.168.1.1\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}"
      "}]}],\"y\":[{\"SrcIPs\":[\"10.9.7.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Las"
      "t\":2}}]},{\"SrcIPs\":[\"10.9.2.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last"
      "\":2}}]}]}}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"other.example.com"
      ".\" 3 nodekey:04040404 discokey:00000000 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:"
      "115c:a1e0::2/128||0 99|tag:a,tag:b||- 0 false false\nuser 3 b@x\ndomain \"example.com\" tka \"\" c"
      "erts [a.ts.net] magic true\n" },
    { false,
      "{\"PeersChanged\":[],\"PeersChangedPatch\":[{\"NodeID\":4,\"DERPRegion\":4,\"Key\":\"nodekey:03030"
      "30303030303030303030303030303030303030303030303030303030303\",\"Online\":true},{\"NodeID\":5,\"Cap"
      "\":0,\"Online\":null},{\"NodeID\":3,\"DERPRegion\":4,\"CapMap\":{\"https\":null},\"Endpoints\":[\""
      "10.0.0.1:1\"]}],\"OnlineChange\":{\"8\":false,\"7\":false,\"6\":true},\"DERPMap\":{\"Regions\":{},"
      "\"omitDefaultRegions\":true},\"PacketFilters\":{\"base\":[]}}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"other.example.com"
      ".\" 3 nodekey:04040404 discokey:00000000 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:"
      "115c:a1e0::2/128||0 99|tag:a,tag:b||- 0 false false\nuser 3 b@x\ndomain \"example.com\" tka \"\" c"
      "erts [a.ts.net] magic true\n" },
    { false,
      "{\"PeersChanged\":[{\"ID\":8,\"StableID\":\"n8\",\"Name\":\"other.example.com.\",\"User\":1,\"Key"
      "\":\"nodekey:0000000000000000000000000000000000000000000000000000000000000000\",\"Addresses\":[\"1"
      "00.64.0.8/32\"],\"KeyExpiry\":\"2027-01-02T03:04:05.678901234Z\",\"AllowedIPs\":[\"0.0.0.0/0\",\":"
      ":/0\"],\"Endpoints\":null,\"HomeDERP\":0,\"LastSeen\":\"2026-08-22T10:02:00Z\",\"Online\":true,\"C"
      "apMap\":{}},{\"ID\":4,\"StableID\":\"n4\",\"Name\":\"n4.tail.ts.net.\",\"User\":3,\"Key\":\"nodeke"
      "y:0202020202020202020202020202020202020202020202020202020202020202\",\"Addresses\":[\"fd7a:115c:a1"
      "e0::4/128\"],\"KeyExpiry\":\"2026-09-01T00:00:00Z\",\"DiscoKey\":\"discokey:0303030303030303030303"
      "030303030303030303030303030303030303030303\",\"AllowedIPs\":[\"fd7a:115c:a1e0::4/128\"],\"DERP\":"
      "\"127.3.3.40:5\",\"Online\":null,\"CapMap\":{\"c&<d\":[null]},\"IsJailed\":true},{\"ID\":2,\"Stabl"
      "eID\":\"n2\",\"Name\":\"\",\"User\":1,\"Key\":\"nodekey:030303030303030303030303030303030303030303"
      "0303030303030303030303\",\"Addresses\":[\"100.64.0.2/32\"],\"KeyExpiry\":\"2027-01-02T03:04:05.678"
      "901234Z\",\"DERP\":\"\",\"LastSeen\":\"0001-01-01T00:00:00Z\",\"CapMap\":{\"a\":[\"z\"]},\"IsJaile"
      "d\":true,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h2\",\"NetInfo\":{\"PreferredDERP\":2}}}],"
      "\"PeersChangedPatch\":[{\"NodeID\":8,\"KeyExpiry\":\"2026-09-01T00:00:00Z\"}],\"DERPMap\":{\"Regio"
      "ns\":null,\"omitDefaultRegions\":true}}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:04040404 0|100.64.0.42/32|100.64.0.42/32|10.0.0.1:"
      "1|0 0|tag:a,tag:b||- 0 false false\n1 n1 \"n1.tail.ts.net.\" 2 nodekey:04040404 discokey:00000000 "
      "0|100.64.0.1/32|0.0.0.0/0,::/0||900 0|tag:a,tag:b|https=|- 0 false false\n2 n2 \"\" 1 nodekey:0303"
      "0303 discokey:00000000 1798859045678901234|100.64.0.2/32|100.64.0.2/32||0 0||a=\"z\";|- 0 true fal"
      "se\n4 n4 \"n4.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 1788220800000000000|fd7a:115c:a1"
      "e0::4/128|fd7a:115c:a1e0::4/128||5 0||c&<d=null;|- 0 true false\n8 n8 \"other.example.com.\" 1 nod"
      "ekey:00000000 discokey:00000000 1788220800000000000|100.64.0.8/32|0.0.0.0/0,::/0||0 0|||true 17873"
      "92920 false false\nuser 3 b@x\ndomain \"example.com\" tka \"\" certs [a.ts.net] magic true\n" },
    { true,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"\",\"User\":1,\"Key\":\"nodekey:0303030303030"
      "303030303030303030303030303030303030303030303030303\",\"Addresses\":[\"100.64.0.42/32\",\"fd7a:115"
      "c:a1e0::2a/128\"],\"KeyExpiry\":\"2027-01-02T03:04:05.678901234Z\",\"DiscoKey\":\"discokey:0505050"
      "505050505050505050505050505050505050505050505050505050505\",\"Endpoints\":null,\"DERP\":\"127.3.3."
      "40:5\",\"Online\":false,\"CapMap\":{\"a\":[1,{\"x\":[2]}],\"b\":[]}},\"Peers\":null,\"PeersChanged"
      "\":[{\"ID\":3,\"StableID\":\"n3\",\"Name\":\"n3.tail.ts.net.\",\"User\":3,\"Key\":\"nodekey:040404"
      "0404040404040404040404040404040404040404040404040404040404\",\"Addresses\":[\"fd7a:115c:a1e0::3/12"
      "8\"],\"KeyExpiry\":\"2026-09-01T00:00:00Z\",\"DiscoKey\":\"discokey:010101010101010101010101010101"
      "0101010101010101010101010101010101\",\"AllowedIPs\":[\"fd7a:115c:a1e0::3/128\",\"10.0.0.0/8\"],\"E"
      "ndpoints\":[],\"Cap\":0,\"Tags\":null},{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"\",\"User\":1,\"Ke"
      "y\":\"nodekey:0000000000000000000000000000000000000000000000000000000000000000\",\"Addresses\":[\""
      "fd7a:115c:a1e0::1/128\"],\"KeyExpiry\":\"2030-01-01T00:00:00+02:00\",\"DiscoKey\":\"discokey:00000"
      "00000000000000000000000000000000000000000000000000000000000\",\"AllowedIPs\":[\"0.0.0.0/0\",\"::/0"
      "\"],\"UnsignedPeerAPIOnly\":true},{\"ID\":5,\"StableID\":\"n5\",\"Name\":\"n5.tail.ts.net.\",\"Use"
      "r\":2,\"Key\":\"nodekey:0202020202020202020202020202020202020202020202020202020202020202\",\"Addre"
      "sses\":[\"100.64.0.5/32\",\"fd7a:115c:a1e0::5/128\"],\"DiscoKey\":\"discokey:050505050505050505050"
      "5050505050505050505050505050505050505050505\",\"AllowedIPs\":[\"100.64.0.5/32\",\"fd7a:115c:a1e0::"
      "5/128\",\"10.0.0.0/8\"],\"HomeDERP\":0,\"Cap\":0,\"Tags\":[\"tag:a\",\"tag:b\"],\"CapMap\":{}}],\""
      "PeersRemoved\":[],\"PeerSeenChange\":{\"3\":false},\"UserProfiles\":[],\"PacketFilters\":null,\"TK"
      "AInfo\":{\"Head\":\"DEF\",\"Disabled\":true}}",
      "self 42 n42 \"\" 1 nodekey:03030303 discokey:05050505 1798859045678901234|100.64.0.42/32,fd7a:115c"
      ":a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||5 0||a=1;{\"x\":[2]};,b=|- 0 false false\n1 n"
      "1 \"\" 1 nodekey:00000000 discokey:00000000 1893448800000000000|fd7a:115c:a1e0::1/128|fd7a:115c:a1"
      "e0::1/128||0 0|||- 0 false true\n3 n3 \"n3.tail.ts.net.\" 3 nodekey:04040404 discokey:01010101 178"
      "8220800000000000|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128,10.0.0.0/8||0 0|||- 0 false false\n5 "
      "n5 \"n5.tail.ts.net.\" 2 nodekey:02020202 discokey:05050505 0|100.64.0.5/32,fd7a:115c:a1e0::5/128|"
      "100.64.0.5/32,fd7a:115c:a1e0::5/128,10.0.0.0/8||0 0|tag:a,tag:b||- 0 false false\ndomain \"\" tka "
      "\"\" certs [] magic false\n" },
    { false,
      "{\"Peers\":[{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"\",\"User\":1,\"Key\":\"nodekey:0303030303030"
      "303030303030303030303030303030303030303030303030303\",\"Addresses\":[\"100.64.0.1/32\"],\"AllowedI"
      "Ps\":[\"100.64.0.1/32\"],\"Endpoints\":[\"203.0.113.9:50000\",\"[2001:db8::1]:41641\"]},{\"ID\":6,"
      "\"StableID\":\"n6\",\"Name\":\"n6.tail.ts.net.\",\"User\":2,\"Key\":\"nodekey:01010101010101010101"
      "01010101010101010101010101010101010101010101\",\"Addresses\":[\"100.64.0.6/32\",\"fd7a:115c:a1e0::"
      "6/128\"],\"DERP\":\"\",\"HomeDERP\":2,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h6\",\"NetInfo"
      "\":{\"PreferredDERP\":1}}}],\"PeersChanged\":[{\"ID\":6,\"StableID\":\"n6\",\"Name\":\"\",\"User\""
      ":1,\"Key\":\"nodekey:0303030303030303030303030303030303030303030303030303030303030303\",\"Addresse"
      "s\":[\"fd7a:115c:a1e0::6/128\"],\"Endpoints\":[\"203.0.113.9:41641\"],\"HomeDERP\":1,\"Online\":tr"
      "ue,\"CapMap\":{\"c&<d\":[null]},\"UnsignedPeerAPIOnly\":true},{\"ID\":2,\"StableID\":\"n2\",\"Name"
      "\":\"n2\",\"User\":1,\"Key\":\"nodekey:03030303030303030303030303030303030303030303030303030303030"
      "30303\",\"Addresses\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\"],\"KeyExpiry\":\"2026-09-01T00:"
      "00:00Z\",\"DiscoKey\":\"discokey:0404040404040404040404040404040404040404040404040404040404040404"
      "\",\"Endpoints\":[\"203.0.113.9:50000\",\"[2001:db8::1]:41641\"],\"HomeDERP\":2,\"Cap\":130},{\"ID"
      "\":3,\"StableID\":\"n3\",\"Name\":\"other.example.com.\",\"User\":2,\"Key\":\"nodekey:050505050505"
      "0505050505050505050505050505050505050505050505050505\",\"Addresses\":[\"100.64.0.3/32\",\"fd7a:115"
      "c:a1e0::3/128\"],\"DiscoKey\":\"discokey:030303030303030303030303030303030303030303030303030303030"
      "3030303\",\"Endpoints\":[\"10.0.0.1:1\"],\"HomeDERP\":1,\"Cap\":68,\"LastSeen\":\"0001-01-01T00:00"
      ":00Z\",\"Online\":true,\"CapMap\":{\"a\":[\"z\"]},\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h3"
      "\",\"NetInfo\":{\"PreferredDERP\":2}}}],\"Domain\":\"b.org\"}",
      "self 42 n42 \"\" 1 nodekey:03030303 discokey:05050505 1798859045678901234|100.64.0.42/32,fd7a:115c"
      ":a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||5 0||a=1;{\"x\":[2]};,b=|- 0 false false\n1 n"
      "1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/32|100.64.0.1/32|203.0.113.9:50000,[2001:"
      "db8::1]:41641|0 0|||- 0 false false\n6 n6 \"n6.tail.ts.net.\" 2 nodekey:01010101 discokey:00000000"
      " 0|100.64.0.6/32,fd7a:115c:a1e0::6/128|100.64.0.6/32,fd7a:115c:a1e0::6/128||2 0|||- 0 false false"
      "\ndomain \"b.org\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PacketFilter\":[{\"SrcIPs\":[\"10.9.8.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":"
      "1,\"Last\":2}}]},{\"SrcIPs\":[\"10.9.3.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,"
      "\"Last\":2}}]}]}",
      "self 42 n42 \"\" 1 nodekey:03030303 discokey:05050505 1798859045678901234|100.64.0.42/32,fd7a:115c"
      ":a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||5 0||a=1;{\"x\":[2]};,b=|- 0 false false\n1 n"
      "1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/32|100.64.0.1/32|203.0.113.9:50000,[2001:"
      "db8::1]:41641|0 0|||- 0 false false\n6 n6 \"n6.tail.ts.net.\" 2 nodekey:01010101 discokey:00000000"
      " 0|100.64.0.6/32,fd7a:115c:a1e0::6/128|100.64.0.6/32,fd7a:115c:a1e0::6/128||2 0|||- 0 false false"
      "\ndomain \"b.org\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":4,\"Endpoints\":[\"203.0.113.9:50000\",\"[200"
      "1:db8::1]:41641\"]}],\"OnlineChange\":{\"1\":true,\"5\":true},\"UserProfiles\":[{\"ID\":2,\"LoginN"
      "ame\":\"a@x\",\"DisplayName\":\"D\"}],\"PacketFilter\":[{\"SrcIPs\":[\"10.9.2.0/24\"],\"DstPorts\""
      ":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]}],\"PacketFilters\":null,\"DNSConfig\":{\"Pro"
      "xied\":false,\"CertDomains\":[]}}",
      "self 42 n42 \"\" 1 nodekey:03030303 discokey:05050505 1798859045678901234|100.64.0.42/32,fd7a:115c"
      ":a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||5 0||a=1;{\"x\":[2]};,b=|- 0 false false\n1 n"
      "1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/32|100.64.0.1/32|203.0.113.9:50000,[2001:"
      "db8::1]:41641|0 0|||true 0 false false\n6 n6 \"n6.tail.ts.net.\" 2 nodekey:01010101 discokey:00000"
      "000 0|100.64.0.6/32,fd7a:115c:a1e0::6/128|100.64.0.6/32,fd7a:115c:a1e0::6/128||2 0|||- 0 false fal"
      "se\nuser 2 a@x\ndomain \"b.org\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PacketFilters\":null,\"DNSConfig\":{\"Proxied\":true,\"CertDomains\":[\"a.ts.net\",\"b.ts.net\""
      "]}}",
      "self 42 n42 \"\" 1 nodekey:03030303 discokey:05050505 1798859045678901234|100.64.0.42/32,fd7a:115c"
      ":a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||5 0||a=1;{\"x\":[2]};,b=|- 0 false false\n1 n"
      "1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/32|100.64.0.1/32|203.0.113.9:50000,[2001:"
      "db8::1]:41641|0 0|||true 0 false false\n6 n6 \"n6.tail.ts.net.\" 2 nodekey:01010101 discokey:00000"
      "000 0|100.64.0.6/32,fd7a:115c:a1e0::6/128|100.64.0.6/32,fd7a:115c:a1e0::6/128||2 0|||- 0 false fal"
      "se\nuser 2 a@x\ndomain \"b.org\" tka \"\" certs [a.ts.net b.ts.net] magic true\n" },
    { false,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42.tail.ts.net.\",\"User\":1,\"Key\":\"nodek"
      "ey:0303030303030303030303030303030303030303030303030303030303030303\",\"Addresses\":[\"fd7a:115c:a"
      "1e0::2a/128\"],\"DiscoKey\":\"discokey:01010101010101010101010101010101010101010101010101010101010"
      "10101\",\"AllowedIPs\":[],\"Endpoints\":[],\"DERP\":\"\",\"HomeDERP\":0,\"Tags\":[],\"Online\":fal"
      "se},\"Peers\":[],\"PeersChangedPatch\":[{\"NodeID\":8,\"Endpoints\":[\"10.0.0.1:1\"],\"DiscoKey\":"
      "\"discokey:0000000000000000000000000000000000000000000000000000000000000000\",\"KeyExpiry\":null}]"
      ",\"UserProfiles\":[{\"ID\":3,\"LoginName\":\"a@x\",\"DisplayName\":\"D\"}],\"PacketFilter\":[{\"Sr"
      "cIPs\":[\"10.9.8.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]}],\"DNSC"
      "onfig\":{\"Proxied\":true,\"CertDomains\":[]}}",
      "self 42 n42 \"n42.tail.ts.net.\" 1 nodekey:03030303 discokey:01010101 0|fd7a:115c:a1e0::2a/128|||0"
      " 0|||- 0 false false\n1 n1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/32|100.64.0.1/32"
      "|203.0.113.9:50000,[2001:db8::1]:41641|0 0|||true 0 false false\n6 n6 \"n6.tail.ts.net.\" 2 nodeke"
      "y:01010101 discokey:00000000 0|100.64.0.6/32,fd7a:115c:a1e0::6/128|100.64.0.6/32,fd7a:115c:a1e0::6"
      "/128||2 0|||- 0 false false\nuser 2 a@x\nuser 3 a@x\ndomain \"b.org\" tka \"\" certs [] magic true"
      "\n" },
    { false, "{\"UserProfiles\":[],\"PacketFilters\":{\"y\":null,\"*\":null},\"Domain\":\"b.org\"}",
      "self 42 n42 \"n42.tail.ts.net.\" 1 nodekey:03030303 discokey:01010101 0|fd7a:115c:a1e0::2a/128|||0"
      " 0|||- 0 false false\n1 n1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/32|100.64.0.1/32"
      "|203.0.113.9:50000,[2001:db8::1]:41641|0 0|||true 0 false false\n6 n6 \"n6.tail.ts.net.\" 2 nodeke"
      "y:01010101 discokey:00000000 0|100.64.0.6/32,fd7a:115c:a1e0::6/128|100.64.0.6/32,fd7a:115c:a1e0::6"
      "/128||2 0|||- 0 false false\nuser 2 a@x\nuser 3 a@x\ndomain \"b.org\" tka \"\" certs [] magic true"
      "\n" },
    { true,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42.tail.ts.net.\",\"User\":3,\"Key\":\"nodek"
      "ey:0202020202020202020202020202020202020202020202020202020202020202\",\"Addresses\":[\"fd7a:115c:a"
      "1e0::2a/128\"],\"DiscoKey\":\"discokey:03030303030303030303030303030303030303030303030303030303030"
      "30303\",\"AllowedIPs\":[\"fd7a:115c:a1e0::2a/128\"],\"Endpoints\":[],\"Cap\":0,\"LastSeen\":null,"
      "\"Online\":false},\"Peers\":null,\"PeersChanged\":[{\"ID\":3,\"StableID\":\"n3\",\"Name\":\"\",\"U"
      "ser\":3,\"Key\":\"nodekey:0505050505050505050505050505050505050505050505050505050505050505\",\"Add"
      "resses\":[\"fd7a:115c:a1e0::3/128\"],\"KeyExpiry\":\"2027-01-02T03:04:05.678901234Z\",\"DiscoKey\""
      ":\"discokey:0101010101010101010101010101010101010101010101010101010101010101\",\"AllowedIPs\":[\"f"
      "d7a:115c:a1e0::3/128\"],\"Cap\":68},{\"ID\":5,\"StableID\":\"n5\",\"Name\":\"n5.tail.ts.net.\",\"U"
      "ser\":2,\"Key\":\"nodekey:0000000000000000000000000000000000000000000000000000000000000000\",\"Add"
      "resses\":[\"fd7a:115c:a1e0::5/128\"],\"DiscoKey\":\"discokey:0202020202020202020202020202020202020"
      "202020202020202020202020202\",\"AllowedIPs\":null,\"Endpoints\":[\"203.0.113.9:50000\",\"[2001:db8"
      "::1]:41641\"],\"HomeDERP\":2,\"Tags\":null,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h5\",\"Ne"
      "tInfo\":{\"PreferredDERP\":3}}}],\"PeersChangedPatch\":[],\"UserProfiles\":[]}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"\" 3 nodekey:05050505 discokey:01010101 1798859"
      "045678901234|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128||0 68|||- 0 false false\n5 n5 \"n5.tail.t"
      "s.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:115c:a1e0::5/128|203.0."
      "113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false, "{\"OnlineChange\":{}}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"\" 3 nodekey:05050505 discokey:01010101 1798859"
      "045678901234|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128||0 68|||- 0 false false\n5 n5 \"n5.tail.t"
      "s.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:115c:a1e0::5/128|203.0."
      "113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PeersRemoved\":[],\"DERPMap\":{\"Regions\":{},\"HomeParams\":{\"RegionScore\":{}},\"omitDefault"
      "Regions\":true},\"PacketFilters\":{\"x\":[{\"SrcIPs\":[\"10.0.0.0/8\"],\"CapGrant\":[{\"Dsts\":[\""
      "0.0.0.0/0\"],\"Caps\":[\"x\"]}]}]},\"Domain\":\"example.com\",\"DNSConfig\":{\"Proxied\":true,\"Ce"
      "rtDomains\":[\"a.ts.net\"]}}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"\" 3 nodekey:05050505 discokey:01010101 1798859"
      "045678901234|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128||0 68|||- 0 false false\n5 n5 \"n5.tail.t"
      "s.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:115c:a1e0::5/128|203.0."
      "113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\ndomain \"example.com\" tka \"\" certs [a.ts"
      ".net] magic true\n" },
    { false,
      "{\"OnlineChange\":{\"4\":false,\"1\":false},\"PacketFilters\":{\"x\":[{\"SrcIPs\":[\"10.9.5.0/24\""
      "],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]}],\"base\":[{\"SrcIPs\":[\"10.0"
      ".0.0/8\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]}]}}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"\" 3 nodekey:05050505 discokey:01010101 1798859"
      "045678901234|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128||0 68|||- 0 false false\n5 n5 \"n5.tail.t"
      "s.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:115c:a1e0::5/128|203.0."
      "113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\ndomain \"example.com\" tka \"\" certs [a.ts"
      ".net] magic true\n" },
    { false, "{\"DERPMap\":{},\"Domain\":\"b.org\"}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"\" 3 nodekey:05050505 discokey:01010101 1798859"
      "045678901234|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128||0 68|||- 0 false false\n5 n5 \"n5.tail.t"
      "s.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:115c:a1e0::5/128|203.0."
      "113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\ndomain \"b.org\" tka \"\" certs [a.ts.net] "
      "magic true\n" },
    { false, "{\"PeersRemoved\":[99],\"DERPMap\":{\"HomeParams\":null,\"omitDefaultRegions\":true}}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"\" 3 nodekey:05050505 discokey:01010101 1798859"
      "045678901234|fd7a:115c:a1e0::3/128|fd7a:115c:a1e0::3/128||0 68|||- 0 false false\n5 n5 \"n5.tail.t"
      "s.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:115c:a1e0::5/128|203.0."
      "113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\ndomain \"b.org\" tka \"\" certs [a.ts.net] "
      "magic true\n" },
    { false,
      "{\"PeersChanged\":[{\"ID\":8,\"StableID\":\"n8\",\"Name\":\"other.example.com.\",\"User\":1,\"Key"
      "\":\"nodekey:0101010101010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"1"
      "00.64.0.8/32\"],\"DiscoKey\":\"discokey:0404040404040404040404040404040404040404040404040404040404"
      "040404\",\"AllowedIPs\":[\"100.64.0.8/32\",\"10.0.0.0/8\"],\"Endpoints\":[\"203.0.113.9:50000\",\""
      "[2001:db8::1]:41641\"],\"Online\":false},{\"ID\":7,\"StableID\":\"n7\",\"Name\":\"other.example.co"
      "m.\",\"User\":2,\"Key\":\"nodekey:0404040404040404040404040404040404040404040404040404040404040404"
      "\",\"Addresses\":[\"fd7a:115c:a1e0::7/128\"],\"DiscoKey\":\"discokey:01010101010101010101010101010"
      "10101010101010101010101010101010101\",\"Cap\":130,\"Tags\":[],\"LastSeen\":\"2026-08-22T10:02:00Z"
      "\",\"IsJailed\":true},{\"ID\":3,\"StableID\":\"n3\",\"Name\":\"n3\",\"User\":3,\"Key\":\"nodekey:0"
      "000000000000000000000000000000000000000000000000000000000000000\",\"Addresses\":[\"100.64.0.3/32\""
      ",\"fd7a:115c:a1e0::3/128\"],\"KeyExpiry\":\"0001-01-01T00:00:00Z\",\"DiscoKey\":\"discokey:0303030"
      "303030303030303030303030303030303030303030303030303030303\",\"AllowedIPs\":null,\"Endpoints\":[\"1"
      "0.0.0.1:1\"],\"HomeDERP\":0,\"LastSeen\":\"0001-01-01T00:00:00Z\"}],\"PeersChangedPatch\":[{\"Node"
      "ID\":8},{\"NodeID\":6,\"DERPRegion\":4,\"CapMap\":null,\"Key\":\"nodekey:0202020202020202020202020"
      "202020202020202020202020202020202020202\"}],\"PacketFilter\":[],\"DNSConfig\":{\"Proxied\":false,"
      "\"CertDomains\":[\"a.ts.net\",\"b.ts.net\"]}}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7"
      "a:115c:a1e0::2a/128||0 0|||- 0 false false\n3 n3 \"n3\" 3 nodekey:00000000 discokey:03030303 0|100"
      ".64.0.3/32,fd7a:115c:a1e0::3/128|100.64.0.3/32,fd7a:115c:a1e0::3/128|10.0.0.1:1|0 0|||- 0 false fa"
      "lse\n5 n5 \"n5.tail.ts.net.\" 2 nodekey:00000000 discokey:02020202 0|fd7a:115c:a1e0::5/128|fd7a:11"
      "5c:a1e0::5/128|203.0.113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\n7 n7 \"other.example.c"
      "om.\" 2 nodekey:04040404 discokey:01010101 0|fd7a:115c:a1e0::7/128|fd7a:115c:a1e0::7/128||0 130|||"
      "- 1787392920 true false\n8 n8 \"other.example.com.\" 1 nodekey:01010101 discokey:04040404 0|100.64"
      ".0.8/32|100.64.0.8/32,10.0.0.0/8|203.0.113.9:50000,[2001:db8::1]:41641|0 0|||false 0 false false\n"
      "domain \"b.org\" tka \"\" certs [a.ts.net b.ts.net] magic false\n" },
    { true,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42.tail.ts.net.\",\"User\":3,\"Key\":\"nodek"
      "ey:0303030303030303030303030303030303030303030303030303030303030303\",\"Addresses\":[\"100.64.0.42"
      "/32\"],\"KeyExpiry\":\"0001-01-01T00:00:00Z\",\"DiscoKey\":\"discokey:0202020202020202020202020202"
      "020202020202020202020202020202020202\",\"AllowedIPs\":[\"100.64.0.42/32\",\"10.0.0.0/8\"],\"Endpoi"
      "nts\":[\"203.0.113.9:50000\",\"[2001:db8::1]:41641\"],\"DERP\":\"\",\"HomeDERP\":2},\"PeersChanged"
      "\":[{\"ID\":2,\"StableID\":\"n2\",\"Name\":\"n2\",\"User\":2,\"Key\":\"nodekey:0101010101010101010"
      "101010101010101010101010101010101010101010101\",\"Addresses\":[\"fd7a:115c:a1e0::2/128\"],\"KeyExp"
      "iry\":\"2026-09-01T00:00:00Z\",\"DiscoKey\":\"discokey:0000000000000000000000000000000000000000000"
      "000000000000000000000\",\"AllowedIPs\":[],\"Endpoints\":[\"203.0.113.9:50000\",\"[2001:db8::1]:416"
      "41\"],\"Tags\":[],\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h2\",\"NetInfo\":{\"PreferredDERP"
      "\":2}}},{\"ID\":6,\"StableID\":\"n6\",\"Name\":\"\",\"User\":2,\"Key\":\"nodekey:03030303030303030"
      "30303030303030303030303030303030303030303030303\",\"Addresses\":[\"100.64.0.6/32\"],\"KeyExpiry\":"
      "\"2027-01-02T03:04:05.678901234Z\",\"DiscoKey\":\"discokey:040404040404040404040404040404040404040"
      "4040404040404040404040404\",\"AllowedIPs\":[\"100.64.0.6/32\"],\"Cap\":68,\"Online\":true,\"IsJail"
      "ed\":true,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h6\",\"NetInfo\":{\"PreferredDERP\":2}}},{"
      "\"ID\":4,\"StableID\":\"n4\",\"Name\":\"other.example.com.\",\"User\":1,\"Key\":\"nodekey:03030303"
      "03030303030303030303030303030303030303030303030303030303\",\"Addresses\":[\"fd7a:115c:a1e0::4/128"
      "\"],\"DiscoKey\":\"discokey:0303030303030303030303030303030303030303030303030303030303030303\",\"A"
      "llowedIPs\":[],\"Endpoints\":[\"203.0.113.9:50000\",\"[2001:db8::1]:41641\"],\"DERP\":\"127.3.3.41"
      ":5\",\"Tags\":null}],\"PeersRemoved\":[],\"OnlineChange\":{},\"UserProfiles\":[]}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:03030303 discokey:02020202 0|100.64.0.42/32|100.64.0.42"
      "/32,10.0.0.0/8|203.0.113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\n2 n2 \"n2\" 2 nodekey:"
      "01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000,[2001:db8:"
      ":1]:41641|0 0|||- 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 discokey:03030303 "
      "0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false false\n6 n6 \"\" 2 "
      "nodekey:03030303 discokey:04040404 1798859045678901234|100.64.0.6/32|100.64.0.6/32||0 68|||true 0 "
      "true false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false, "{\"PacketFilters\":{}}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:03030303 discokey:02020202 0|100.64.0.42/32|100.64.0.42"
      "/32,10.0.0.0/8|203.0.113.9:50000,[2001:db8::1]:41641|2 0|||- 0 false false\n2 n2 \"n2\" 2 nodekey:"
      "01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000,[2001:db8:"
      ":1]:41641|0 0|||- 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 discokey:03030303 "
      "0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false false\n6 n6 \"\" 2 "
      "nodekey:03030303 discokey:04040404 1798859045678901234|100.64.0.6/32|100.64.0.6/32||0 68|||true 0 "
      "true false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42\",\"User\":3,\"Key\":\"nodekey:0505050505"
      "050505050505050505050505050505050505050505050505050505\",\"Addresses\":[\"100.64.0.42/32\",\"fd7a:"
      "115c:a1e0::2a/128\"],\"KeyExpiry\":\"2030-01-01T00:00:00+02:00\",\"DiscoKey\":\"discokey:050505050"
      "5050505050505050505050505050505050505050505050505050505\",\"AllowedIPs\":[\"100.64.0.42/32\",\"fd7"
      "a:115c:a1e0::2a/128\"],\"LastSeen\":\"2026-08-22T10:02:00Z\",\"Online\":true,\"CapMap\":{\"a\":[\""
      "z\"]},\"Capabilities\":[]},\"PeersChanged\":[],\"PeersRemoved\":[7,6],\"PacketFilter\":[{\"SrcIPs"
      "\":[\"10.0.0.0/8\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]}],\"DNSConfig\":{\""
      "Proxied\":true,\"CertDomains\":[\"a.ts.net\"]}}",
      "self 42 n42 \"n42\" 3 nodekey:05050505 discokey:05050505 1893448800000000000|100.64.0.42/32,fd7a:1"
      "15c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0||a=\"z\";|- 0 false false\n2 n2 \"n2\""
      " 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000"
      ",[2001:db8::1]:41641|0 0|||- 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 discoke"
      "y:03030303 0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false false\nd"
      "omain \"\" tka \"\" certs [a.ts.net] magic true\n" },
    { false, "{\"PeersRemoved\":[99],\"PacketFilter\":[]}",
      "self 42 n42 \"n42\" 3 nodekey:05050505 discokey:05050505 1893448800000000000|100.64.0.42/32,fd7a:1"
      "15c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0||a=\"z\";|- 0 false false\n2 n2 \"n2\""
      " 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000"
      ",[2001:db8::1]:41641|0 0|||- 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 discoke"
      "y:03030303 0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false false\nd"
      "omain \"\" tka \"\" certs [a.ts.net] magic true\n" },
    { false, "{\"KeepAlive\":true}",
      "self 42 n42 \"n42\" 3 nodekey:05050505 discokey:05050505 1893448800000000000|100.64.0.42/32,fd7a:1"
      "15c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0||a=\"z\";|- 0 false false\n2 n2 \"n2\""
      " 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000"
      ",[2001:db8::1]:41641|0 0|||- 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 discoke"
      "y:03030303 0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false false\nd"
      "omain \"\" tka \"\" certs [a.ts.net] magic true\n" },
    { false, "{\"KeepAlive\":true}",
      "self 42 n42 \"n42\" 3 nodekey:05050505 discokey:05050505 1893448800000000000|100.64.0.42/32,fd7a:1"
      "15c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0||a=\"z\";|- 0 false false\n2 n2 \"n2\""
      " 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000"
      ",[2001:db8::1]:41641|0 0|||- 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 discoke"
      "y:03030303 0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false false\nd"
      "omain \"\" tka \"\" certs [a.ts.net] magic true\n" },
    { false,
      "{\"OnlineChange\":{\"2\":false,\"3\":true,\"7\":true},\"PacketFilter\":[],\"Domain\":\"b.org\"}",
      "self 42 n42 \"n42\" 3 nodekey:05050505 discokey:05050505 1893448800000000000|100.64.0.42/32,fd7a:1"
      "15c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0||a=\"z\";|- 0 false false\n2 n2 \"n2\""
      " 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2/128||203.0.113.9:50000"
      ",[2001:db8::1]:41641|0 0|||false 0 false false\n4 n4 \"other.example.com.\" 1 nodekey:03030303 dis"
      "cokey:03030303 0|fd7a:115c:a1e0::4/128||203.0.113.9:50000,[2001:db8::1]:41641|0 0|||- 0 false fals"
      "e\ndomain \"b.org\" tka \"\" certs [a.ts.net] magic true\n" },
    { true,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"\",\"User\":2,\"Key\":\"nodekey:0505050505050"
      "505050505050505050505050505050505050505050505050505\",\"Addresses\":[\"fd7a:115c:a1e0::2a/128\"],"
      "\"DiscoKey\":\"discokey:0303030303030303030303030303030303030303030303030303030303030303\",\"Allow"
      "edIPs\":[\"fd7a:115c:a1e0::2a/128\",\"10.0.0.0/8\"],\"Endpoints\":null,\"Tags\":null,\"LastSeen\":"
      "null,\"Online\":null,\"Capabilities\":null},\"Peers\":[{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"ot"
      "her.example.com.\",\"User\":1,\"Key\":\"nodekey:02020202020202020202020202020202020202020202020202"
      "02020202020202\",\"Addresses\":[\"100.64.0.1/32\"],\"DiscoKey\":\"discokey:04040404040404040404040"
      "40404040404040404040404040404040404040404\",\"AllowedIPs\":null,\"Endpoints\":[],\"Tags\":[],\"Onl"
      "ine\":null,\"CapMap\":{}},{\"ID\":2,\"StableID\":\"n2\",\"Name\":\"\",\"User\":2,\"Key\":\"nodekey"
      ":0000000000000000000000000000000000000000000000000000000000000000\",\"Addresses\":[\"100.64.0.2/32"
      "\",\"fd7a:115c:a1e0::2/128\"],\"KeyExpiry\":\"0001-01-01T00:00:00Z\",\"DiscoKey\":\"discokey:02020"
      "20202020202020202020202020202020202020202020202020202020202\",\"AllowedIPs\":null,\"DERP\":\"\",\""
      "HomeDERP\":2,\"Online\":false,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h2\",\"NetInfo\":{\"Pr"
      "eferredDERP\":1}}},{\"ID\":3,\"StableID\":\"n3\",\"Name\":\"\",\"User\":3,\"Key\":\"nodekey:010101"
      "0101010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"100.64.0.3/32\",\"fd"
      "7a:115c:a1e0::3/128\"],\"KeyExpiry\":\"2026-09-01T00:00:00Z\",\"DiscoKey\":\"discokey:030303030303"
      "0303030303030303030303030303030303030303030303030303\",\"AllowedIPs\":[],\"Endpoints\":null,\"Home"
      "DERP\":2,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"h3\",\"NetInfo\":{\"PreferredDERP\":1}}},{"
      "\"ID\":4,\"StableID\":\"n4\",\"Name\":\"n4.tail.ts.net.\",\"User\":1,\"Key\":\"nodekey:04040404040"
      "40404040404040404040404040404040404040404040404040404\",\"Addresses\":[\"fd7a:115c:a1e0::4/128\"],"
      "\"DiscoKey\":\"discokey:0404040404040404040404040404040404040404040404040404040404040404\",\"Allow"
      "edIPs\":[\"fd7a:115c:a1e0::4/128\"],\"Endpoints\":null,\"HomeDERP\":2,\"Online\":true},{\"ID\":5,"
      "\"StableID\":\"n5\",\"Name\":\"\",\"User\":3,\"Key\":\"nodekey:00000000000000000000000000000000000"
      "00000000000000000000000000000\",\"Addresses\":[\"fd7a:115c:a1e0::5/128\"],\"KeyExpiry\":\"2030-01-"
      "01T00:00:00+02:00\",\"AllowedIPs\":[],\"Endpoints\":[],\"IsJailed\":true,\"Hostinfo\":{\"OS\":\"li"
      "nux\",\"Hostname\":\"h5\",\"NetInfo\":{\"PreferredDERP\":4}}},{\"ID\":8,\"StableID\":\"n8\",\"Name"
      "\":\"n8\",\"User\":2,\"Key\":\"nodekey:03030303030303030303030303030303030303030303030303030303030"
      "30303\",\"Addresses\":[\"fd7a:115c:a1e0::8/128\"],\"KeyExpiry\":\"2027-01-02T03:04:05.678901234Z\""
      ",\"DiscoKey\":\"discokey:0404040404040404040404040404040404040404040404040404040404040404\",\"Allo"
      "wedIPs\":[\"fd7a:115c:a1e0::8/128\",\"10.0.0.0/8\"],\"Endpoints\":null,\"HomeDERP\":2,\"Cap\":68,"
      "\"Online\":null,\"CapMap\":{\"c&<d\":[null]}}],\"PeersChanged\":[{\"ID\":2,\"StableID\":\"n2\",\"N"
      "ame\":\"n2.tail.ts.net.\",\"User\":2,\"Key\":\"nodekey:0000000000000000000000000000000000000000000"
      "000000000000000000000\",\"Addresses\":[\"fd7a:115c:a1e0::2/128\"],\"KeyExpiry\":\"2027-01-02T03:04"
      ":05.678901234Z\",\"AllowedIPs\":null,\"Endpoints\":[\"10.0.0.1:1\"],\"CapMap\":null}],\"OnlineChan"
      "ge\":{\"8\":true,\"77\":true,\"3\":true},\"UserProfiles\":[{\"ID\":2,\"LoginName\":\"a@x\",\"Displ"
      "ayName\":\"D\"},{\"ID\":4,\"LoginName\":\"b@x\",\"DisplayName\":\"D\"}],\"Domain\":\"b.org\"}",
      "self 42 n42 \"\" 2 nodekey:05050505 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7a:115c:a1e0::2a/"
      "128,10.0.0.0/8||0 0|||- 0 false false\n1 n1 \"other.example.com.\" 1 nodekey:02020202 discokey:040"
      "40404 0|100.64.0.1/32|100.64.0.1/32||0 0|||- 0 false false\n2 n2 \"\" 2 nodekey:00000000 discokey:"
      "02020202 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 "
      "false false\n3 n3 \"\" 3 nodekey:01010101 discokey:03030303 1788220800000000000|100.64.0.3/32,fd7a"
      ":115c:a1e0::3/128|||2 0|||- 0 false false\n4 n4 \"n4.tail.ts.net.\" 1 nodekey:04040404 discokey:04"
      "040404 0|fd7a:115c:a1e0::4/128|fd7a:115c:a1e0::4/128||2 0|||true 0 false false\n5 n5 \"\" 3 nodeke"
      "y:00000000 discokey:00000000 1893448800000000000|fd7a:115c:a1e0::5/128|||0 0|||- 0 true false\n8 n"
      "8 \"n8\" 2 nodekey:03030303 discokey:04040404 1798859045678901234|fd7a:115c:a1e0::8/128|fd7a:115c:"
      "a1e0::8/128,10.0.0.0/8||2 68||c&<d=null;|- 0 false false\nuser 2 a@x\nuser 4 b@x\ndomain \"b.org\""
      " tka \"\" certs [] magic false\n" },
    { false,
      "{\"PeersRemoved\":[3],\"PeerSeenChange\":{\"5\":true,\"8\":true},\"PacketFilter\":[{\"SrcIPs\":[\""
      "10.9.5.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]}]}",
      "self 42 n42 \"\" 2 nodekey:05050505 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7a:115c:a1e0::2a/"
      "128,10.0.0.0/8||0 0|||- 0 false false\n1 n1 \"other.example.com.\" 1 nodekey:02020202 discokey:040"
      "40404 0|100.64.0.1/32|100.64.0.1/32||0 0|||- 0 false false\n2 n2 \"\" 2 nodekey:00000000 discokey:"
      "02020202 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 "
      "false false\n4 n4 \"n4.tail.ts.net.\" 1 nodekey:04040404 discokey:04040404 0|fd7a:115c:a1e0::4/128"
      "|fd7a:115c:a1e0::4/128||2 0|||true 0 false false\n5 n5 \"\" 3 nodekey:00000000 discokey:00000000 1"
      "893448800000000000|fd7a:115c:a1e0::5/128|||0 0|||- 1800000000 true false\n8 n8 \"n8\" 2 nodekey:03"
      "030303 discokey:04040404 1798859045678901234|fd7a:115c:a1e0::8/128|fd7a:115c:a1e0::8/128,10.0.0.0/"
      "8||2 68||c&<d=null;|- 1800000000 false false\nuser 2 a@x\nuser 4 b@x\ndomain \"b.org\" tka \"\" ce"
      "rts [] magic false\n" },
    { false,
      "{\"PeersRemoved\":[3,99],\"UserProfiles\":[{\"ID\":2,\"LoginName\":\"c@x\",\"DisplayName\":\"D\"},"
      "{\"ID\":2,\"LoginName\":\"b@x\",\"DisplayName\":\"D\"}],\"DNSConfig\":{\"Proxied\":true,\"CertDoma"
      "ins\":[\"a.ts.net\"]}}",
      "self 42 n42 \"\" 2 nodekey:05050505 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7a:115c:a1e0::2a/"
      "128,10.0.0.0/8||0 0|||- 0 false false\n1 n1 \"other.example.com.\" 1 nodekey:02020202 discokey:040"
      "40404 0|100.64.0.1/32|100.64.0.1/32||0 0|||- 0 false false\n2 n2 \"\" 2 nodekey:00000000 discokey:"
      "02020202 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 "
      "false false\n4 n4 \"n4.tail.ts.net.\" 1 nodekey:04040404 discokey:04040404 0|fd7a:115c:a1e0::4/128"
      "|fd7a:115c:a1e0::4/128||2 0|||true 0 false false\n5 n5 \"\" 3 nodekey:00000000 discokey:00000000 1"
      "893448800000000000|fd7a:115c:a1e0::5/128|||0 0|||- 1800000000 true false\n8 n8 \"n8\" 2 nodekey:03"
      "030303 discokey:04040404 1798859045678901234|fd7a:115c:a1e0::8/128|fd7a:115c:a1e0::8/128,10.0.0.0/"
      "8||2 68||c&<d=null;|- 1800000000 false false\nuser 2 b@x\nuser 4 b@x\ndomain \"b.org\" tka \"\" ce"
      "rts [a.ts.net] magic true\n" },
    { false, "{\"PeersRemoved\":[1]}",
      "self 42 n42 \"\" 2 nodekey:05050505 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7a:115c:a1e0::2a/"
      "128,10.0.0.0/8||0 0|||- 0 false false\n2 n2 \"\" 2 nodekey:00000000 discokey:02020202 0|100.64.0.2"
      "/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 false false\n4 n4 \"n"
      "4.tail.ts.net.\" 1 nodekey:04040404 discokey:04040404 0|fd7a:115c:a1e0::4/128|fd7a:115c:a1e0::4/12"
      "8||2 0|||true 0 false false\n5 n5 \"\" 3 nodekey:00000000 discokey:00000000 1893448800000000000|fd"
      "7a:115c:a1e0::5/128|||0 0|||- 1800000000 true false\n8 n8 \"n8\" 2 nodekey:03030303 discokey:04040"
      "404 1798859045678901234|fd7a:115c:a1e0::8/128|fd7a:115c:a1e0::8/128,10.0.0.0/8||2 68||c&<d=null;|-"
      " 1800000000 false false\nuser 2 b@x\nuser 4 b@x\ndomain \"b.org\" tka \"\" certs [a.ts.net] magic "
      "true\n" },
    { false,
      "{\"PeersChanged\":[{\"ID\":5,\"StableID\":\"n5\",\"Name\":\"other.example.com.\",\"User\":1,\"Key"
      "\":\"nodekey:0303030303030303030303030303030303030303030303030303030303030303\",\"Addresses\":[\"1"
      "00.64.0.5/32\",\"fd7a:115c:a1e0::5/128\"],\"AllowedIPs\":[\"100.64.0.5/32\",\"fd7a:115c:a1e0::5/12"
      "8\"],\"Endpoints\":[\"10.0.0.1:1\"],\"HomeDERP\":2,\"Tags\":[\"tag:a\",\"tag:b\"],\"Online\":false"
      "}],\"DNSConfig\":{\"Proxied\":false,\"CertDomains\":[\"a.ts.net\"]}}",
      "self 42 n42 \"\" 2 nodekey:05050505 discokey:03030303 0|fd7a:115c:a1e0::2a/128|fd7a:115c:a1e0::2a/"
      "128,10.0.0.0/8||0 0|||- 0 false false\n2 n2 \"\" 2 nodekey:00000000 discokey:02020202 0|100.64.0.2"
      "/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 false false\n4 n4 \"n"
      "4.tail.ts.net.\" 1 nodekey:04040404 discokey:04040404 0|fd7a:115c:a1e0::4/128|fd7a:115c:a1e0::4/12"
      "8||2 0|||true 0 false false\n5 n5 \"other.example.com.\" 1 nodekey:03030303 discokey:00000000 0|10"
      "0.64.0.5/32,fd7a:115c:a1e0::5/128|100.64.0.5/32,fd7a:115c:a1e0::5/128|10.0.0.1:1|2 0|tag:a,tag:b||"
      "false 0 false false\n8 n8 \"n8\" 2 nodekey:03030303 discokey:04040404 1798859045678901234|fd7a:115"
      "c:a1e0::8/128|fd7a:115c:a1e0::8/128,10.0.0.0/8||2 68||c&<d=null;|- 1800000000 false false\nuser 2 "
      "b@x\nuser 4 b@x\ndomain \"b.org\" tka \"\" certs [a.ts.net] magic false\n" },
    { false,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42\",\"User\":2,\"Key\":\"nodekey:0101010101"
      "010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"fd7a:115c:a1e0::2a/128\""
      "],\"KeyExpiry\":\"2026-09-01T00:00:00Z\",\"DiscoKey\":\"discokey:000000000000000000000000000000000"
      "0000000000000000000000000000000\",\"AllowedIPs\":[],\"Endpoints\":[],\"Tags\":[\"tag:a\",\"tag:b\""
      "]},\"PeersChanged\":[{\"ID\":7,\"StableID\":\"n7\",\"Name\":\"\",\"User\":1,\"Key\":\"nodekey:0101"
      "010101010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"100.64.0.7/32\",\""
      "fd7a:115c:a1e0::7/128\"],\"KeyExpiry\":\"0001-01-01T00:00:00Z\",\"DiscoKey\":\"discokey:0101010101"
      "010101010101010101010101010101010101010101010101010101\",\"AllowedIPs\":[\"0.0.0.0/0\",\"::/0\"],"
      "\"Endpoints\":[\"203.0.113.9:41641\"],\"CapMap\":{\"a\":[1,{\"x\":[2]}],\"b\":[]},\"Hostinfo\":{\""
      "OS\":\"linux\",\"Hostname\":\"h7\",\"NetInfo\":{\"PreferredDERP\":3}}},{\"ID\":1,\"StableID\":\"n1"
      "\",\"Name\":\"\",\"User\":1,\"Key\":\"nodekey:0000000000000000000000000000000000000000000000000000"
      "000000000000\",\"Addresses\":[\"100.64.0.1/32\",\"fd7a:115c:a1e0::1/128\"],\"DiscoKey\":\"discokey"
      ":0505050505050505050505050505050505050505050505050505050505050505\",\"AllowedIPs\":null,\"Endpoint"
      "s\":[\"10.0.0.1:1\"],\"HomeDERP\":1,\"LastSeen\":\"2026-08-22T10:02:00Z\",\"Online\":true,\"Hostin"
      "fo\":{\"OS\":\"linux\",\"Hostname\":\"h1\",\"NetInfo\":{\"PreferredDERP\":1}}}],\"PeersRemoved\":["
      "],\"PeersChangedPatch\":[{\"NodeID\":42,\"Online\":null},{\"NodeID\":1,\"Cap\":0,\"Key\":\"nodekey"
      ":0303030303030303030303030303030303030303030303030303030303030303\",\"DiscoKey\":\"discokey:000000"
      "0000000000000000000000000000000000000000000000000000000000\",\"Online\":true},{\"NodeID\":1,\"DERP"
      "Region\":0,\"DiscoKey\":\"discokey:000000000000000000000000000000000000000000000000000000000000000"
      "0\",\"LastSeen\":\"2026-08-22T10:02:00Z\"}],\"PacketFilters\":null}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2a/12"
      "8|||0 0|tag:a,tag:b||- 0 false false\n1 n1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/"
      "32,fd7a:115c:a1e0::1/128|100.64.0.1/32,fd7a:115c:a1e0::1/128|10.0.0.1:1|1 0|||true 1787392920 fals"
      "e false\n2 n2 \"\" 2 nodekey:00000000 discokey:02020202 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100."
      "64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 false false\n4 n4 \"n4.tail.ts.net.\" 1 nodekey:040"
      "40404 discokey:04040404 0|fd7a:115c:a1e0::4/128|fd7a:115c:a1e0::4/128||2 0|||true 0 false false\n5"
      " n5 \"other.example.com.\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.5/32,fd7a:115c:a1e0::5/"
      "128|100.64.0.5/32,fd7a:115c:a1e0::5/128|10.0.0.1:1|2 0|tag:a,tag:b||false 0 false false\n7 n7 \"\""
      " 1 nodekey:01010101 discokey:01010101 0|100.64.0.7/32,fd7a:115c:a1e0::7/128|0.0.0.0/0,::/0|203.0.1"
      "13.9:41641|0 0||a=1;{\"x\":[2]};,b=|- 0 false false\n8 n8 \"n8\" 2 nodekey:03030303 discokey:04040"
      "404 1798859045678901234|fd7a:115c:a1e0::8/128|fd7a:115c:a1e0::8/128,10.0.0.0/8||2 68||c&<d=null;|-"
      " 1800000000 false false\nuser 2 b@x\nuser 4 b@x\ndomain \"b.org\" tka \"\" certs [a.ts.net] magic "
      "false\n" },
    { false, "{\"KeepAlive\":true}",
      "self 42 n42 \"n42\" 2 nodekey:01010101 discokey:00000000 1788220800000000000|fd7a:115c:a1e0::2a/12"
      "8|||0 0|tag:a,tag:b||- 0 false false\n1 n1 \"\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.1/"
      "32,fd7a:115c:a1e0::1/128|100.64.0.1/32,fd7a:115c:a1e0::1/128|10.0.0.1:1|1 0|||true 1787392920 fals"
      "e false\n2 n2 \"\" 2 nodekey:00000000 discokey:02020202 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100."
      "64.0.2/32,fd7a:115c:a1e0::2/128||2 0|||false 0 false false\n4 n4 \"n4.tail.ts.net.\" 1 nodekey:040"
      "40404 discokey:04040404 0|fd7a:115c:a1e0::4/128|fd7a:115c:a1e0::4/128||2 0|||true 0 false false\n5"
      " n5 \"other.example.com.\" 1 nodekey:03030303 discokey:00000000 0|100.64.0.5/32,fd7a:115c:a1e0::5/"
      "128|100.64.0.5/32,fd7a:115c:a1e0::5/128|10.0.0.1:1|2 0|tag:a,tag:b||false 0 false false\n7 n7 \"\""
      " 1 nodekey:01010101 discokey:01010101 0|100.64.0.7/32,fd7a:115c:a1e0::7/128|0.0.0.0/0,::/0|203.0.1"
      "13.9:41641|0 0||a=1;{\"x\":[2]};,b=|- 0 false false\n8 n8 \"n8\" 2 nodekey:03030303 discokey:04040"
      "404 1798859045678901234|fd7a:115c:a1e0::8/128|fd7a:115c:a1e0::8/128,10.0.0.0/8||2 68||c&<d=null;|-"
      " 1800000000 false false\nuser 2 b@x\nuser 4 b@x\ndomain \"b.org\" tka \"\" certs [a.ts.net] magic "
      "false\n" },
    { true,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42\",\"User\":2,\"Key\":\"nodekey:0505050505"
      "050505050505050505050505050505050505050505050505050505\",\"Addresses\":[\"100.64.0.42/32\"],\"KeyE"
      "xpiry\":\"2030-01-01T00:00:00+02:00\",\"Endpoints\":[],\"HomeDERP\":2,\"LastSeen\":\"2026-08-22T10"
      ":02:00Z\",\"Online\":null},\"PeersChangedPatch\":[{\"NodeID\":99,\"DERPRegion\":0,\"Cap\":99,\"End"
      "points\":[],\"KeyExpiry\":null}],\"PeerSeenChange\":{\"6\":false,\"5\":false},\"PacketFilter\":[{"
      "\"SrcIPs\":[\"192.168.1.1\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]},{\""
      "SrcIPs\":[\"10.9.0.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]}]}",
      "self 42 n42 \"n42\" 2 nodekey:05050505 discokey:00000000 1893448800000000000|100.64.0.42/32|100.64"
      ".0.42/32||2 0|||- 0 false false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PacketFilters\":{\"y\":[{\"SrcIPs\":[\"10.0.0.0/8\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\""
      "Caps\":[\"x\"]}]}],\"*\":[]}}",
      "self 42 n42 \"n42\" 2 nodekey:05050505 discokey:00000000 1893448800000000000|100.64.0.42/32|100.64"
      ".0.42/32||2 0|||- 0 false false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false, "{\"KeepAlive\":true}",
      "self 42 n42 \"n42\" 2 nodekey:05050505 discokey:00000000 1893448800000000000|100.64.0.42/32|100.64"
      ".0.42/32||2 0|||- 0 false false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PeersChanged\":[],\"PeersRemoved\":[],\"PacketFilter\":[{\"SrcIPs\":[\"10.0.0.0/8\"],\"CapGrant"
      "\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]}]}",
      "self 42 n42 \"n42\" 2 nodekey:05050505 discokey:00000000 1893448800000000000|100.64.0.42/32|100.64"
      ".0.42/32||2 0|||- 0 false false\ndomain \"\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"Node\":{\"ID\":42,\"StableID\":\"n42\",\"Name\":\"n42.tail.ts.net.\",\"User\":3,\"Key\":\"nodek"
      "ey:0202020202020202020202020202020202020202020202020202020202020202\",\"Addresses\":[\"100.64.0.42"
      "/32\",\"fd7a:115c:a1e0::2a/128\"],\"KeyExpiry\":\"2027-01-02T03:04:05.678901234Z\",\"DiscoKey\":\""
      "discokey:0202020202020202020202020202020202020202020202020202020202020202\",\"DERP\":\"\",\"Tags\""
      ":[\"tag:a\",\"tag:b\"],\"LastSeen\":\"2026-08-22T10:02:00Z\",\"Online\":false,\"CapMap\":{\"a\":["
      "\"z\"]}},\"PeersChangedPatch\":[{\"NodeID\":4,\"DERPRegion\":3,\"DiscoKey\":\"discokey:04040404040"
      "40404040404040404040404040404040404040404040404040404\"},{\"NodeID\":2,\"DERPRegion\":4,\"Cap\":99"
      ",\"CapMap\":{\"https\":null},\"Endpoints\":[\"10.0.0.1:1\"],\"Key\":\"nodekey:00000000000000000000"
      "00000000000000000000000000000000000000000000\"}],\"UserProfiles\":[],\"PacketFilters\":null,\"Doma"
      "in\":\"example.com\"}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:02020202 1798859045678901234|100.64.0"
      ".42/32,fd7a:115c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0|tag:a,tag:b|a=\"z\";|- 0 "
      "false false\ndomain \"example.com\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PeersChanged\":[{\"ID\":5,\"StableID\":\"n5\",\"Name\":\"\",\"User\":3,\"Key\":\"nodekey:010101"
      "0101010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"100.64.0.5/32\",\"fd"
      "7a:115c:a1e0::5/128\"],\"KeyExpiry\":\"0001-01-01T00:00:00Z\",\"LastSeen\":\"2026-08-22T10:02:00Z"
      "\"},{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"other.example.com.\",\"User\":2,\"Key\":\"nodekey:010"
      "1010101010101010101010101010101010101010101010101010101010101\",\"Addresses\":[\"100.64.0.1/32\"],"
      "\"KeyExpiry\":\"2027-01-02T03:04:05.678901234Z\",\"Endpoints\":[],\"DERP\":\"\",\"Cap\":0,\"Online"
      "\":null,\"CapMap\":{\"c&<d\":[null]}},{\"ID\":2,\"StableID\":\"n2\",\"Name\":\"n2.tail.ts.net.\","
      "\"User\":2,\"Key\":\"nodekey:0101010101010101010101010101010101010101010101010101010101010101\",\""
      "Addresses\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\"],\"DiscoKey\":\"discokey:0303030303030303"
      "030303030303030303030303030303030303030303030303\",\"AllowedIPs\":null,\"Endpoints\":null,\"Tags\""
      ":null,\"Online\":false}],\"UserProfiles\":[]}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:02020202 1798859045678901234|100.64.0"
      ".42/32,fd7a:115c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0|tag:a,tag:b|a=\"z\";|- 0 "
      "false false\n1 n1 \"other.example.com.\" 2 nodekey:01010101 discokey:00000000 1798859045678901234|"
      "100.64.0.1/32|100.64.0.1/32||0 0||c&<d=null;|- 0 false false\n2 n2 \"n2.tail.ts.net.\" 2 nodekey:0"
      "1010101 discokey:03030303 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/12"
      "8||0 0|||false 0 false false\n5 n5 \"\" 3 nodekey:01010101 discokey:00000000 0|100.64.0.5/32,fd7a:"
      "115c:a1e0::5/128|100.64.0.5/32,fd7a:115c:a1e0::5/128||0 0|||- 1787392920 false false\ndomain \"exa"
      "mple.com\" tka \"\" certs [] magic false\n" },
    { false,
      "{\"PeersChanged\":[],\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"a@x\",\"DisplayName\":\"D\"},{\"I"
      "D\":4,\"LoginName\":\"b@x\",\"DisplayName\":\"D\"}],\"Domain\":\"b.org\"}",
      "self 42 n42 \"n42.tail.ts.net.\" 3 nodekey:02020202 discokey:02020202 1798859045678901234|100.64.0"
      ".42/32,fd7a:115c:a1e0::2a/128|100.64.0.42/32,fd7a:115c:a1e0::2a/128||0 0|tag:a,tag:b|a=\"z\";|- 0 "
      "false false\n1 n1 \"other.example.com.\" 2 nodekey:01010101 discokey:00000000 1798859045678901234|"
      "100.64.0.1/32|100.64.0.1/32||0 0||c&<d=null;|- 0 false false\n2 n2 \"n2.tail.ts.net.\" 2 nodekey:0"
      "1010101 discokey:03030303 0|100.64.0.2/32,fd7a:115c:a1e0::2/128|100.64.0.2/32,fd7a:115c:a1e0::2/12"
      "8||0 0|||false 0 false false\n5 n5 \"\" 3 nodekey:01010101 discokey:00000000 0|100.64.0.5/32,fd7a:"
      "115c:a1e0::5/128|100.64.0.5/32,fd7a:115c:a1e0::5/128||0 0|||- 1787392920 false false\nuser 1 a@x\n"
      "user 4 b@x\ndomain \"b.org\" tka \"\" certs [] magic false\n" },
};

#endif

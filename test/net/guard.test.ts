import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEgressGuard } from '../../src/net/index.ts';

const closed = createEgressGuard([]);

/** Spellings of hosts that must not be let in at the door, by what they mean. */
const REFUSED: Record<string, string[]> = {
  loopback: [
    '127.0.0.1',
    '127.255.255.254',
    '2130706433',
    '0x7f000001',
    '0x7F.0.0.1',
    '0x7f.1',
    '017700000001',
    '0177.0.0.1',
    '0000000177.0.0.01',
    '127.1',
    '127.0.1',
    '127.0.0.1.',
    '①②⑦.⓪.⓪.①',
    '127。0。0。1',
    '%31%32%37.0.0.1',
    ' 127.0.0.1',
    '127.0.0.1\t',
    '::1',
    '[::1]',
    '0:0:0:0:0:0:0:1',
    '0000::0001',
    '::1%lo',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.b.localhost',
    'ⓛocalhost',
    'ip6-localhost',
  ],
  private: ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '0xA.1', '167772161', '012.0.0.1'],
  linkLocal: ['169.254.0.1', 'fe80::1', 'fe80::1%eth0', '[fe80::1%25eth0]', 'febf::1'],
  metadata: [
    '169.254.169.254',
    '0xa9fea9fe',
    '2852039166',
    '168.63.129.16',
    '100.100.100.200',
    'fd00:ec2::254',
  ],
  other: [
    '100.64.0.1',
    '100.127.255.255',
    '0.0.0.0',
    '0',
    '0.1.2.3',
    '::',
    '[::]',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '192.0.0.192',
    '192.0.2.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    'fc00::1',
    'fdff::1',
    'fec0::1',
    'ff02::1',
    '100::1',
    '2001:db8::1',
    '3fff::1',
    '5f00::1',
    '4000::1',
  ],
  mapped: [
    '::ffff:127.0.0.1',
    '[::ffff:127.0.0.1]',
    '::ffff:7f00:1',
    '[::FFFF:7F00:1]',
    '0:0:0:0:0:ffff:10.0.0.1',
    '::ffff:a9fe:a9fe',
    '::ffff:0:127.0.0.1',
    '::127.0.0.1',
    '::7f00:1',
  ],
  tunnels: [
    '64:ff9b::127.0.0.1',
    '64:ff9b::a00:1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::1',
    '64:ff9b:1::8.8.8.8',
    '2002:7f00:1::',
    '2002:a00:1::1',
    '2002:c0a8:101::1',
    '2001:0:7f00:1::',
    '2001:0:4136:e378:8000:63bf:f5ff:fffe',
  ],
};

for (const [kind, hosts] of Object.entries(REFUSED))
  for (const host of hosts)
    test(`the door refuses ${JSON.stringify(host)} (${kind})`, () => {
      assert.equal(closed.isAddressAllowed(host), false);
    });

const LET_IN = [
  '8.8.8.8',
  '134744072',
  '0x08.8.8.8',
  '172.15.255.255',
  '172.32.0.1',
  '100.63.255.255',
  '100.128.0.1',
  '169.253.255.255',
  '223.255.255.255',
  '::ffff:8.8.8.8',
  '64:ff9b::8.8.8.8',
  '2606:4700::1111',
  '[2606:4700::1111]',
];

for (const host of LET_IN)
  test(`the door lets the public address ${JSON.stringify(host)} through`, () => {
    assert.equal(closed.isAddressAllowed(host), true);
  });

test('the door leaves names to resolution', () => {
  for (const host of [
    'imap.example.com',
    'localhost.example.com',
    'notlocalhost',
    'xn--bcher-kva.example',
    '',
  ])
    assert.equal(closed.isAddressAllowed(host), true, host);
});

test('an allowed network opens its addresses in every spelling, and no others', () => {
  const guard = createEgressGuard(['127.0.0.0/8', 'fd12:3456::/32']);
  for (const host of ['127.0.0.1', '127.9.9.9', '0x7f.1', '::ffff:127.0.0.1', 'localhost', 'fd12:3456::9'])
    assert.equal(guard.isAddressAllowed(host), true, host);
  for (const host of ['10.0.0.1', '::1', 'fd12:3457::1', '64:ff9b::127.0.0.1'])
    assert.equal(guard.isAddressAllowed(host), false, host);
});

test('a NAT64 or tunnel address is opened by a network of its own kind only', () => {
  const guard = createEgressGuard(['64:ff9b::7f00:0/104', '2002::/16']);
  assert.equal(guard.isAddressAllowed('64:ff9b::127.0.0.1'), true);
  assert.equal(guard.isAddressAllowed('2002:7f00:1::'), true);
  assert.equal(guard.isAddressAllowed('127.0.0.1'), false);
});

test('says in words why an address is refused', () => {
  assert.equal(closed.refusal('127.0.0.1'), 'a loopback address');
  assert.equal(closed.refusal('fd00::1'), 'a private address');
  assert.equal(closed.refusal('64:ff9b::a00:1'), 'a NAT64 address of a private address');
  assert.equal(closed.refusal('nonsense'), 'no IP address');
  assert.equal(closed.refusal('8.8.8.8'), null);
});

test('refuses what is no network', () => {
  for (const cidr of ['127.0.0.1', '10.0.0.0/33', 'intranet', '', '::ffff:10.0.0.0/104'])
    assert.throws(() => createEgressGuard([cidr]), RangeError, cidr);
});

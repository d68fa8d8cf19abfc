#!/bin/bash
# prepare.sh TREE CRATE LIST SKIP : instruments until it compiles
tree=$1 crate=$2 list=$3 skip=$4
cd $tree
for k in $(seq 1 15); do
  git checkout -q .; python ./instrument.py $tree $crate $list $skip || exit 1
  RUSTFLAGS="" cargo test --locked --offline --profile devo -p $crate --lib --no-run --message-format=json > ./build.json 2>./build.err && break
  python3 - $tree $skip <<'P'
import json,sys,re
tree,skip=sys.argv[1:3]
new=set(); un=[]
for l in open('./build.json'):
    if not l.startswith('{'): continue
    d=json.loads(l)
    m=d.get('message')
    if not m or not isinstance(m,dict) or m.get('level')!='error': continue
    ids=set()
    for s in m['spans']:
        L=open(f"{tree}/{s['file_name']}").read().splitlines()
        for n in range(s['line_start']-1, min(s['line_end'],s['line_start']+2)):
            if n<len(L):
                f=re.findall(r'@(\d+)@',L[n])
                if s['is_primary'] and f: ids.update(map(int,f))
    if ids: new|=ids
    elif m['spans']: un.append((m['message'][:200],[(s['file_name'],s['line_start']) for s in m['spans']][:2]))
print('unviable', sorted(new)); print('unexplained', un[:10])
open(skip,'a').write('\n'.join(map(str,new))+'\n')
if not new: sys.exit(1)
P
  [ $? = 0 ] || exit 1
done
echo ok
